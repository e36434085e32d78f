#include "virga/training/state_file.h"

#include <string>

#include "virga/base/error.h"
#include "virga/base/hash.h"

namespace virga {
namespace {

constexpr std::uint32_t kCheckpointMagic = 0x504b4356;  // "VCKP"
constexpr std::uint32_t kSnapshotMagic = 0x504e5356;    // "VSNP"
constexpr std::uint32_t kCheckpointVersion = 3;
constexpr std::uint32_t kSnapshotVersion = 2;
constexpr std::uint32_t kMostTables = 64;
constexpr std::uint32_t kMostName = 200;

void put(const Tables& tables, ByteWriter& out) {
  out.put(static_cast<std::uint32_t>(tables.layout.size()));
  for (std::size_t t = 0; t < tables.layout.size(); ++t) {
    const auto& spec = tables.layout[t];
    out.put(static_cast<std::uint32_t>(spec.name.size()));
    out.put_span(std::span<const char>(spec.name));
    out.put(spec.rows);
    out.put(spec.width);
    out.put(static_cast<std::uint8_t>((spec.regularised ? 1 : 0) | (spec.sparse ? 2 : 0)));
    out.put_span(std::span<const float>(tables.values[t]));
  }
}

Tables get_tables(ByteReader& in) {
  Tables tables;
  const auto count = in.get<std::uint32_t>();
  if (count > kMostTables) throw Error(ErrorKind::kCorrupt, std::string(in.what()) + ": too many tables");
  for (std::uint32_t t = 0; t < count; ++t) {
    TableSpec spec;
    const auto length = in.get<std::uint32_t>();
    if (length > kMostName) throw Error(ErrorKind::kCorrupt, std::string(in.what()) + ": a name is too long");
    spec.name = as_text(in.take(length));
    spec.rows = in.get<std::uint32_t>();
    spec.width = in.get<std::uint32_t>();
    const auto flags = in.get<std::uint8_t>();
    spec.regularised = (flags & 1) != 0;
    spec.sparse = (flags & 2) != 0;
    if (flags > 3 || spec.size() > in.remaining() / sizeof(float)) {
      throw Error(ErrorKind::kCorrupt, std::string(in.what()) + ": a table has an impossible size");
    }
    auto& values = tables.values.emplace_back(spec.size());
    in.get_span(std::span<float>(values));
    tables.layout.push_back(spec);
  }
  return tables;
}

void put(const EpochSums& sums, ByteWriter& out) {
  out.put(sums.loss);
  out.put(sums.weight);
  out.put(sums.examples);
  out.put(sums.updates);
  out.put(sums.lost_updates);
}

EpochSums get_sums(ByteReader& in) {
  EpochSums sums;
  sums.loss = in.get<double>();
  sums.weight = in.get<double>();
  sums.examples = in.get<std::uint64_t>();
  sums.updates = in.get<std::uint64_t>();
  sums.lost_updates = in.get<std::uint64_t>();
  return sums;
}

std::size_t bytes_of(const Tables& tables) {
  constexpr std::size_t kHead = 4 * sizeof(std::uint32_t);
  std::size_t bytes = kHead;
  for (const auto& spec : tables.layout) bytes += kHead + spec.name.size() + spec.size() * sizeof(float);
  return bytes;
}

/// `body`: about how many bytes `fill` writes, so that they are not copied while they grow.
template <typename Fill>
Bytes sealed(std::uint32_t magic, std::uint32_t version, std::size_t body, const Fill& fill) {
  constexpr std::size_t kFrame = 128;
  Bytes bytes;
  bytes.reserve(kFrame + body);
  ByteWriter out(bytes);
  out.put(magic);
  out.put(version);
  fill(out);
  out.put(crc32c(bytes));
  return bytes;
}

template <typename Read>
auto opened(ByteView bytes, std::uint32_t magic, std::uint32_t version, std::string_view what, const Read& read) {
  constexpr std::size_t kLeast = 3 * sizeof(std::uint32_t);
  ByteReader in(bytes, what);
  if (bytes.size() < kLeast || in.get<std::uint32_t>() != magic || in.get<std::uint32_t>() != version) {
    throw Error(ErrorKind::kCorrupt, std::string(what) + ": not one, or of another version");
  }
  const auto body = bytes.first(bytes.size() - sizeof(std::uint32_t));
  ByteReader tail(bytes.subspan(body.size()), what);
  if (crc32c(body) != tail.get<std::uint32_t>())
    throw Error(ErrorKind::kCorrupt, std::string(what) + ": the checksum is wrong");
  ByteReader inner(body.subspan(2 * sizeof(std::uint32_t)), what);
  auto result = read(inner);
  if (inner.remaining() > 0) throw Error(ErrorKind::kCorrupt, std::string(what) + ": there are bytes after its end");
  return result;
}

}  // namespace

Bytes encode_checkpoint(const WorkerCheckpoint& checkpoint) {
  auto body = bytes_of(checkpoint.rule.parameters) + bytes_of(checkpoint.rule.states) + bytes_of(checkpoint.own);
  for (const auto& steps : checkpoint.rule.steps) body += (1 + steps.size()) * sizeof(std::uint32_t);
  return sealed(kCheckpointMagic, kCheckpointVersion, body, [&](ByteWriter& out) {
    out.put(checkpoint.position.round);
    out.put(checkpoint.position.step);
    out.put(checkpoint.learning_rate);
    put(checkpoint.sums, out);
    put(checkpoint.rule.parameters, out);
    put(checkpoint.rule.states, out);
    for (const auto& steps : checkpoint.rule.steps) {
      out.put(static_cast<std::uint32_t>(steps.size()));
      out.put_span(std::span<const std::uint32_t>(steps));
    }
    put(checkpoint.own, out);
  });
}

WorkerCheckpoint decode_checkpoint(ByteView bytes) {
  return opened(bytes, kCheckpointMagic, kCheckpointVersion, "a checkpoint", [](ByteReader& in) {
    WorkerCheckpoint checkpoint;
    checkpoint.position.round = in.get<std::uint64_t>();
    checkpoint.position.step = in.get<std::uint64_t>();
    checkpoint.learning_rate = in.get<double>();
    checkpoint.sums = get_sums(in);
    checkpoint.rule.parameters = get_tables(in);
    checkpoint.rule.states = get_tables(in);
    for (std::size_t t = 0; t < checkpoint.rule.parameters.layout.size(); ++t) {
      const auto count = in.get<std::uint32_t>();
      if (count > in.remaining() / sizeof(std::uint32_t)) {
        throw Error(ErrorKind::kCorrupt, "a checkpoint: the steps of a table are cut off");
      }
      auto& steps = checkpoint.rule.steps.emplace_back(count);
      in.get_span(std::span<std::uint32_t>(steps));
    }
    checkpoint.own = get_tables(in);
    return checkpoint;
  });
}

Bytes encode_snapshot(const Snapshot& snapshot) {
  return sealed(kSnapshotMagic, kSnapshotVersion, bytes_of(snapshot.parameters), [&](ByteWriter& out) {
    out.put(snapshot.round);
    out.put(snapshot.epoch);
    out.put(static_cast<std::uint32_t>(snapshot.last ? 1 : 0));
    out.put(snapshot.learning_rate);
    put(snapshot.sums, out);
    put(snapshot.parameters, out);
  });
}

Snapshot decode_snapshot(ByteView bytes) {
  return opened(bytes, kSnapshotMagic, kSnapshotVersion, "a snapshot", [](ByteReader& in) {
    Snapshot snapshot;
    snapshot.round = in.get<std::uint64_t>();
    snapshot.epoch = in.get<std::uint32_t>();
    snapshot.last = in.get<std::uint32_t>() != 0;
    snapshot.learning_rate = in.get<double>();
    snapshot.sums = get_sums(in);
    snapshot.parameters = get_tables(in);
    return snapshot;
  });
}

}  // namespace virga
