#pragma once

#include <memory>
#include <string>

#include <openssl/x509.h>

#include "virga/base/environment.h"

namespace virga {

/// Certificates that are believed.
struct TlsAuthorities {
  std::shared_ptr<X509_STORE> store;
  std::string source;  ///< for messages: a file's name or a folder's
};

/// Those in `file` alone; if that is empty, those of SSL_CERT_FILE and SSL_CERT_DIR; if neither is set, this system's:
/// the first of /etc/ssl/certs (if certificates can be found there one by one), /etc/ssl/certs/ca-certificates.crt,
/// /etc/pki/tls/certs/ca-bundle.crt and their like. Throws Error: kNotFound, kTooLarge, kIo, kBadData.
[[nodiscard]] TlsAuthorities find_authorities(const std::string& file, const Environment& environment);

}  // namespace virga
