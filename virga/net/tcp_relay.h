#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>

#include "virga/net/address.h"
#include "virga/net/descriptor.h"

namespace virga {

/// Passes connections on: who connects to a listening socket (perhaps of another network namespace) talks to `target`,
/// which is connected to from here. Works on the thread that runs `context`.
class TcpRelay {
 public:
  /// `listening` becomes the relay's. `target`: TCP, its host an IP address. Throws Error(kUsage) for others.
  TcpRelay(boost::asio::io_context& context, Descriptor listening, const Address& target);
  /// Closes all connections.
  ~TcpRelay();
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace virga
