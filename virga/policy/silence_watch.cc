#include "virga/policy/silence_watch.h"

namespace virga {

void SilenceWatch::doubt(const std::vector<Member>& members, std::uint32_t view, Time now) {
  for (const auto& member : members) {
    const auto at = doubts_.find(member.worker);
    const bool known = at != doubts_.end() && at->second.generation == member.generation;
    if (!known) doubts_[member.worker] = {member.generation, view, now};  // else since the first time
  }
}

std::vector<Member> SilenceWatch::doubted() const {
  std::vector<Member> members;
  for (const auto& [worker, doubt] : doubts_) members.push_back({worker, doubt.generation});
  return members;
}

void SilenceWatch::seen(const Member& member, std::uint32_t view) {
  const auto at = doubts_.find(member.worker);
  if (at == doubts_.end() || at->second.generation != member.generation || view < at->second.view) return;
  doubts_.erase(at);
}

void SilenceWatch::ended(const Member& member) {
  const auto at = doubts_.find(member.worker);
  if (at != doubts_.end() && at->second.generation == member.generation) doubts_.erase(at);
}

std::vector<Member> SilenceWatch::lost(Time now) {
  std::vector<Member> members;
  for (const auto& member : doubted()) {
    if (now - doubts_.at(member.worker).since >= grace_) members.push_back(member);
  }
  for (const auto& member : members) ended(member);
  return members;
}

}  // namespace virga
