#include <algorithm>

#include <sys/socket.h>

#include "virga/engine/sandbox_init.h"
#include "virga/engine/sandbox_system.h"

namespace virga::sandbox_init {

namespace {

using sandbox_system::call;
using sandbox_system::call_again;
constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * kMostListeners) + CMSG_SPACE(sizeof(ucred));

void append(msghdr& message, int type, const void* data, std::size_t size) noexcept {
  auto* header = reinterpret_cast<cmsghdr*>(static_cast<char*>(message.msg_control) + message.msg_controllen);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(size);
  const auto* from = static_cast<const unsigned char*>(data);
  std::copy_n(from, size, CMSG_DATA(header));
  message.msg_controllen += CMSG_SPACE(size);
}

}  // namespace

bool send_packet(int socket, const void* bytes, std::size_t size, const int* descriptors, int count,
                 pid_t process) noexcept {
  iovec part{.iov_base = const_cast<void*>(bytes), .iov_len = size};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  if (count > 0) append(message, SCM_RIGHTS, descriptors, sizeof(int) * static_cast<std::size_t>(count));
  if (process != 0) {
    const ucred who{
        .pid = process, .uid = static_cast<uid_t>(call(SYS_getuid)), .gid = static_cast<gid_t>(call(SYS_getgid))};
    append(message, SCM_CREDENTIALS, &who, sizeof who);
  }
  if (message.msg_controllen == 0) message.msg_control = nullptr;
  return call_again(SYS_sendmsg, socket, &message, MSG_NOSIGNAL) == static_cast<long>(size);
}

long receive_packet(int socket, void* bytes, std::size_t size, int* descriptors, int most, int* count,
                    pid_t* process) noexcept {
  iovec part{.iov_base = bytes, .iov_len = size};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (count != nullptr) *count = 0;
  const long received = call_again(SYS_recvmsg, socket, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return received;
  for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    const auto* data = CMSG_DATA(header);
    if (header->cmsg_type == SCM_CREDENTIALS && process != nullptr) {
      *process = reinterpret_cast<const ucred*>(data)->pid;
    }
    if (header->cmsg_type != SCM_RIGHTS) continue;
    const auto* from = reinterpret_cast<const int*>(data);
    const auto here = static_cast<int>((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < here; ++i) {
      if (count != nullptr && *count < most) {
        descriptors[(*count)++] = from[i];
      } else {
        call(SYS_close, from[i]);
      }
    }
  }
  return received;
}

}  // namespace virga::sandbox_init
