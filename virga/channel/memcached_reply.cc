#include "virga/channel/memcached_reply.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "virga/net/http.h"

namespace virga {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

[[noreturn]] void fail_reply(std::string_view line) {
  std::string shown;
  for (const char c : line.substr(0, 80)) shown += c >= ' ' && c <= '~' ? c : '?';
  throw Error(ErrorKind::kCorrupt, fmt::format("not an answer of Memcached: \"{}\"", shown));
}

/// Takes the first word from the front of `text`.
std::string_view take_word(std::string_view& text) {
  const auto word = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), word.size() + 1));
  return word;
}

std::optional<std::uint64_t> decimal(std::string_view digits) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

/// Flags of a meta command's answer: a letter, and what it says.
void read_flags(std::string_view flags, std::string_view line, MemcachedReply& reply) {
  while (!flags.empty()) {
    const auto flag = take_word(flags);
    if (flag.empty()) continue;
    auto* const to = flag[0] == 'O'   ? &reply.opaque
                     : flag[0] == 'c' ? &reply.cas
                     : flag[0] == 's' ? &reply.size
                     : flag[0] == 'f' ? &reply.flags
                                      : nullptr;
    if (to == nullptr) continue;
    *to = decimal(flag.substr(1));
    if (!*to) fail_reply(line);
  }
}

std::optional<MemcachedReply::Kind> kind_of_meta_reply(std::string_view word) {
  using Kind = MemcachedReply::Kind;
  if (word == "HD") return Kind::kDone;
  if (word == "VA") return Kind::kValue;
  if (word == "EN" || word == "NF") return Kind::kNotThere;
  if (word == "NS") return Kind::kNotStored;
  if (word == "EX") return Kind::kExists;
  if (word == "MN") return Kind::kNoop;
  return std::nullopt;
}

std::optional<MemcachedReply::Kind> kind_of_text_reply(std::string_view word) {
  using Kind = MemcachedReply::Kind;
  if (word == "STAT") return Kind::kStat;
  if (word.starts_with("key=")) return Kind::kKey;
  if (word == "BUSY") return Kind::kBusy;
  if (word == "END") return Kind::kEnd;
  if (word == "STORED") return Kind::kStored;
  if (word == "ERROR" || word == "CLIENT_ERROR" || word == "SERVER_ERROR") return Kind::kError;
  return std::nullopt;
}

}  // namespace

MemcachedReply parse_memcached_reply(std::string_view line) {
  auto rest = line;
  const auto word = take_word(rest);
  MemcachedReply reply;
  if (const auto kind = kind_of_meta_reply(word)) {
    reply.kind = *kind;
    if (*kind == MemcachedReply::Kind::kValue) {
      const auto bytes = decimal(take_word(rest));
      if (!bytes) fail_reply(line);
      reply.value_bytes = *bytes;
    }
    read_flags(rest, line, reply);
    return reply;
  }
  const auto kind = kind_of_text_reply(word);
  if (!kind) fail_reply(line);
  reply.kind = *kind;
  reply.text = *kind == MemcachedReply::Kind::kStat ? rest : line;
  return reply;
}

bool MemcachedReader::collect_line(ByteView& bytes) {
  if (line_is_read_) line_.clear();
  line_is_read_ = false;
  const auto text = as_text(bytes);
  const auto end = text.find('\n');
  const auto taken = text.substr(0, end == std::string_view::npos ? text.size() : end + 1);
  if (line_.size() + taken.size() > kMostLineBytes) fail_reply(line_.empty() ? taken : line_);
  line_ += taken;
  bytes = bytes.subspan(taken.size());
  return end != std::string_view::npos;
}

MemcachedReader::Step MemcachedReader::feed(ByteView& bytes) {
  if (end_bytes_ == 0) {
    if (!collect_line(bytes)) return Step::kMore;
    line_is_read_ = true;
    const bool is_full_end = line_.ends_with(kLineEnd);
    reply_ = parse_memcached_reply(std::string_view(line_).substr(0, line_.size() - (is_full_end ? 2 : 1)));
    if (!is_full_end && reply_.kind != MemcachedReply::Kind::kKey) fail_reply(line_);  // a metadump's end with '\n'
    if (reply_.kind == MemcachedReply::Kind::kValue) {
      if (reply_.value_bytes > max_value_bytes_) {
        throw Error(ErrorKind::kCorrupt, fmt::format("Memcached answers with a value of {} bytes, but {} is the most",
                                                     reply_.value_bytes, max_value_bytes_));
      }
      end_bytes_ = kLineEnd.size();
    }
    return Step::kReply;
  }
  const auto now = std::min(bytes.size(), unfilled_.size());
  if (now != 0) std::memcpy(unfilled_.data(), bytes.data(), now);
  filled(now);
  bytes = bytes.subspan(now);
  if (!unfilled_.empty()) return Step::kMore;
  for (; end_bytes_ > 0 && !bytes.empty(); --end_bytes_, bytes = bytes.subspan(1)) {
    if (static_cast<char>(bytes[0]) != kLineEnd[kLineEnd.size() - end_bytes_]) fail_reply(as_text(bytes));
  }
  return end_bytes_ == 0 ? Step::kValue : Step::kMore;
}

std::optional<std::string> memcached_key_of(std::string_view dumped_line) {
  constexpr std::string_view kKey = "key=";
  if (!dumped_line.starts_with(kKey)) return std::nullopt;
  dumped_line.remove_prefix(kKey.size());
  try {
    return percent_decode(dumped_line.substr(0, dumped_line.find(' ')));
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace virga
