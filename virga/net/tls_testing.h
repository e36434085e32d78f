#pragma once

// Real certificates and a real peer for tests of TLS: what the programs openssl and python3 make and speak.

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "virga/base/error.h"
#include "virga/net/http_testing.h"
#include "virga/net/service_process_testing.h"
#include "virga/net/socket.h"

namespace virga {

/// Two authorities, "ca" and "other", and servers' certificates for localhost and 127.0.0.1: "good"; "expired";
/// "foreign", signed by the other authority; and "misnamed", for another host. Of each a file NAME.pem and its key,
/// NAME.key, in a folder that lives as long as this.
class TestCertificates {
 public:
  TestCertificates() {
    auto name = (std::filesystem::temp_directory_path() / "virga-tls-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, "a folder can be made");
    folder_ = name;
    const auto said = run_shell("cd " + name + R"( && set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
authority() {
  openssl req -x509 $key -keyout $1.key -out $1.pem -subj "/CN=$1" -days 2 -addext basicConstraints=critical,CA:TRUE
}
server() {  # NAME AUTHORITY NAMES DAYS
  openssl req -new $key -keyout $1.key -out $1.csr -subj "/CN=$1"
  echo "subjectAltName=$3" > $1.names
  openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -out $1.pem -days $4 -extfile $1.names
}
authority ca
authority other
server good ca DNS:localhost,IP:127.0.0.1 2
server expired ca DNS:localhost,IP:127.0.0.1 -1
server misnamed ca DNS:elsewhere.example,IP:192.0.2.1 2
server foreign other DNS:localhost,IP:127.0.0.1 2
echo all are there)");
    check(said.ends_with("all are there\n"), "openssl makes certificates: the tests need the Debian package openssl");
  }
  ~TestCertificates() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TestCertificates(const TestCertificates&) = delete;
  TestCertificates& operator=(const TestCertificates&) = delete;

  /// Those of this test program.
  static const TestCertificates& shared() {
    static const TestCertificates certificates;
    return certificates;
  }

  /// "good.pem".
  [[nodiscard]] std::string file(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::string authority() const { return file("ca.pem"); }

 private:
  std::filesystem::path folder_;
};

struct TlsFrontOptions {
  std::string certificate = "good";
  bool only_tls_1_2 = false;
  /// Of what the target says; then the connection is cut off without a word. 0: no such limit.
  std::size_t cut_after = 0;
};
/// A server that speaks TLS and passes on what it hears, in plain text, to `target`.
class TlsFront {
 public:
  explicit TlsFront(const Address& target, const TlsFrontOptions& options = {}) {
    const char* source = std::getenv("VIRGA_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nobody writes to it
    check(source != nullptr, "VIRGA_SOURCE_DIR is set");
    const auto& certificates = TestCertificates::shared();
    address_ = Listener(parse_address("tcp:127.0.0.1:0")).address();
    const std::vector<std::string> command = {"/usr/bin/python3",
                                              std::string(source) + "/virga/net/tls_front_testing.py",
                                              certificates.file(options.certificate + ".pem"),
                                              certificates.file(options.certificate + ".key"),
                                              std::to_string(address_.port),
                                              std::to_string(target.port),
                                              options.only_tls_1_2 ? "1.2" : "1.3",
                                              std::to_string(options.cut_after)};
    process_.emplace(command, "the Debian package python3");
    process_->await([this] {
      try {
        return static_cast<bool>(connect_to(address_, nullptr, test_deadline()));
      } catch (const Error&) {
        return false;
      }
    });
  }

  /// Without TLS.
  [[nodiscard]] const Address& address() const noexcept { return address_; }
  /// As a client is to reach it that believes `authority`: by number, or as "localhost".
  [[nodiscard]] Address address(const std::string& authority, const std::string& host = "127.0.0.1") const {
    auto address = address_;
    address.host = host;
    address.tls = {.name = host, .authorities = authority};
    return address;
  }
  [[nodiscard]] std::string url() const { return "https://127.0.0.1:" + std::to_string(address_.port); }
  void kill() { process_.reset(); }

 private:
  Address address_;
  std::optional<ServiceProcess> process_;
};

}  // namespace virga
