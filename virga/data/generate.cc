#include "virga/data/generate.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/data/destination.h"
#include "virga/data/synthetic.h"
#include "virga/math/elementary.h"

namespace virga {
namespace {

constexpr std::array<std::string_view, 3> kKinds = {"ctr", "criteo", "dense"};
constexpr std::uint64_t kRowsPerPiece = 4096;

/// A file beside its final place, which it gets when it is complete.
class OutputFile {
 public:
  OutputFile(const std::filesystem::path& directory, std::string shown)
      : shown_(std::move(shown)), name_((directory / ".generated.XXXXXX").string()) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) throw system_error("cannot create " + directory.string(), error.value());
    descriptor_ = ::mkostemp(name_.data(), O_CLOEXEC);
    if (descriptor_ < 0) throw system_error("cannot write " + shown_, errno);
  }
  ~OutputFile() {
    ::close(descriptor_);
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view text) {
    while (!text.empty()) {
      const auto count = ::write(descriptor_, text.data(), text.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw system_error("cannot write " + shown_, errno);
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  void rename_to(const std::string& path) {
    if (::fchmod(descriptor_, 0644) != 0 || ::fsync(descriptor_) != 0)
      throw system_error("cannot write " + path, errno);
    if (::rename(name_.c_str(), path.c_str()) != 0) throw system_error("cannot write " + path, errno);
    name_.clear();
  }
  /// From here on it has no name and ends with the process. Returns a path under which this process finds it.
  [[nodiscard]] std::string hide() {
    ::unlink(name_.c_str());
    name_.clear();
    return fmt::format("/proc/self/fd/{}", descriptor_);
  }

 private:
  const std::string shown_;  // in errors
  std::string name_;
  int descriptor_ = -1;
};

/// Consecutive rows as text.
struct Piece {
  std::string text;
  std::uint64_t positive = 0;
  double log_loss = 0;  // sum
};

Piece make_piece(const SyntheticData& data, bool csv, std::uint64_t first, std::uint64_t last) {
  Piece piece;
  SyntheticRow row;
  for (auto number = first; number < last; ++number) {
    data.make(number, row);
    piece.positive += row.label != 0 ? 1 : 0;
    piece.log_loss += math::softplus(row.label != 0 ? -row.margin : row.margin);
    if (csv) {
      data.append_csv(row, piece.text);
    } else {
      data.append_libsvm(row, piece.text);
    }
  }
  return piece;
}

class Generator {
 public:
  explicit Generator(const GenerateOptions& options)
      : options_(options),
        threads_(options.threads > 0 ? options.threads : usable_cores()),
        format_(options.format.value_or(natural_format(options))) {
    if (options_.rows == 0) throw Error(ErrorKind::kUsage, "no rows are to be generated", "ask for at least one");
    if (format_ == SourceFormat::kIdx || (format_ == SourceFormat::kCsv && options_.kind == SyntheticKind::kCtr)) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("\"{}\" rows are not written as {}", to_string(options_.kind), to_string(format_)),
                  "use libsvm");
    }
  }

  GenerateReport run() { return names_a_text_file(options_.to) ? to_file() : to_set(); }

 private:
  static SourceFormat natural_format(const GenerateOptions& options) {
    const std::string_view to = options.to;
    if (to.ends_with(".csv")) return SourceFormat::kCsv;
    if (to.ends_with(".svm") || to.ends_with(".libsvm")) return SourceFormat::kLibsvm;
    return options.kind == SyntheticKind::kCtr ? SourceFormat::kLibsvm : SourceFormat::kCsv;
  }

  GenerateReport to_file() {
    const std::filesystem::path path(options_.to);
    if (!options_.overwrite && std::filesystem::exists(path)) {
      throw Error(ErrorKind::kConflict, fmt::format("{}: there is a file already", options_.to),
                  "choose another name, or replace it with --overwrite");
    }
    OutputFile file(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."), options_.to);
    auto report = write(file);
    file.rename_to(options_.to);
    return report;
  }

  GenerateReport to_set() {
    // Refuses a set that is there before rows are made, and tidies up whatever happens.
    Destination destination(options_.to, options_.overwrite);
    OutputFile file(destination.directory(), "rows for " + options_.to);
    auto import = options_.import;
    import.train = {file.hide()};
    import.source_name =
        fmt::format("synthetic:{}?rows={}&seed={}", to_string(options_.kind), options_.rows, options_.seed);
    auto report = write(file);
    import.format = format_;
    import.to = options_.to;
    import.overwrite = options_.overwrite;
    import.threads = options_.threads;
    import.stop = options_.stop;
    report.import = import_set(import);
    return report;
  }

  GenerateReport write(OutputFile& file) {
    const auto data = options_.kind == SyntheticKind::kCtr      ? make_ctr(options_.seed)
                      : options_.kind == SyntheticKind::kCriteo ? make_criteo(options_.seed)
                                                                : make_dense(options_.seed);
    const bool csv = format_ == SourceFormat::kCsv;
    GenerateReport report;
    if (csv) file.write(data->csv_header());
    if (csv) report.bytes = data->csv_header().size();
    std::vector<Piece> pieces(std::size_t{threads_} * 4);
    double log_loss = 0;
    auto last_report = std::chrono::steady_clock::now();
    while (report.rows < options_.rows) {
      parallel_for(threads_, pieces.size(), [&](std::size_t i) {
        if (options_.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "generating was stopped");
        const auto first = std::min(options_.rows, report.rows + i * kRowsPerPiece);
        pieces[i] = make_piece(*data, csv, first, std::min(options_.rows, first + kRowsPerPiece));
      });
      for (const auto& piece : pieces) {
        file.write(piece.text);
        report.bytes += piece.text.size();
        report.positive += piece.positive;
        log_loss += piece.log_loss;
      }
      report.rows = std::min(options_.rows, report.rows + pieces.size() * kRowsPerPiece);
      const auto now = std::chrono::steady_clock::now();
      const bool due = now - last_report >= std::chrono::milliseconds(100) || report.rows == options_.rows;
      if (!options_.on_rows || !due) continue;
      options_.on_rows(report.rows, options_.rows);
      last_report = now;
    }
    report.planted_log_loss = log_loss / static_cast<double>(report.rows);
    return report;
  }

  const GenerateOptions& options_;
  const unsigned threads_;
  const SourceFormat format_;
};

}  // namespace

std::string_view to_string(SyntheticKind kind) noexcept { return kKinds[static_cast<std::size_t>(kind)]; }

SyntheticKind parse_synthetic_kind(std::string_view text) {
  const auto found = std::ranges::find(kKinds, text);
  if (found != kKinds.end()) return static_cast<SyntheticKind>(found - kKinds.begin());
  const auto near = nearest_word(text, {kKinds.begin(), kKinds.end()});
  throw Error(ErrorKind::kUsage, fmt::format("there are no synthetic data called \"{}\"", text),
              near.empty() ? "choose ctr, criteo or dense" : fmt::format("is \"{}\" meant?", near));
}

bool names_a_text_file(std::string_view to) {
  constexpr std::array<std::string_view, 5> kEndings = {".txt", ".svm", ".libsvm", ".csv", ".tsv"};
  return std::ranges::any_of(kEndings, [&](std::string_view ending) { return to.ends_with(ending); });
}

GenerateReport generate(const GenerateOptions& options) { return Generator(options).run(); }

}  // namespace virga
