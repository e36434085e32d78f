#include "virga/net/tls_authorities.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/net/sigv4_canonical.h"
#include "virga/net/tls.h"

namespace virga {
namespace {

namespace fs = std::filesystem;
using Store = std::shared_ptr<X509_STORE>;

/// Debian, Fedora and Amazon Linux, their newer place, SUSE, Alpine.
constexpr std::array kSystemFiles = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                     "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/ca-bundle.pem",
                                     "/etc/ssl/cert.pem"};
constexpr auto kSystemFolder = "/etc/ssl/certs";

Store new_store() {
  Store store(::X509_STORE_new(), &::X509_STORE_free);
  check(store != nullptr, "OpenSSL has no memory");
  return store;
}

Store store_of(std::string_view pem, const std::string& file) {
  auto store = new_store();
  const std::unique_ptr<BIO, decltype(&::BIO_free)> bio(::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                        &::BIO_free);
  check(bio != nullptr, "OpenSSL has no memory");
  std::size_t count = 0;
  ::ERR_clear_error();
  while (X509* certificate = ::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    ::X509_STORE_add_cert(store.get(), certificate);  // one that is there twice is there
    ::X509_free(certificate);
    ++count;
  }
  const auto error = ::ERR_peek_last_error();
  const bool is_end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  ::ERR_clear_error();
  if (count > 0 && is_end) return store;
  throw Error(
      ErrorKind::kBadData,
      fmt::format("{}: {}", file, count == 0 ? "there is no certificate in it" : "a certificate in it is damaged"),
      "give a file of certificates in PEM form, which begin with -----BEGIN CERTIFICATE-----");
}

/// To read a system's takes 18 ms, so clients that live at the same time share it.
Store shared_store_of(const std::string& file) {
  const auto bytes = read_file(file, kMostAuthorityBytes);
  const auto pem = as_text(bytes);
  const auto digest = sha256(pem);
  static std::mutex mutex;
  static std::map<Sha256, std::weak_ptr<X509_STORE>> known;
  const std::scoped_lock lock(mutex);
  if (auto store = known[digest].lock()) return store;
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  auto store = store_of(pem, file);
  known[digest] = store;
  return store;
}

/// A folder in which OpenSSL finds a certificate by the hash of its name, when it needs it.
Store store_of_folder(const std::string& folder) {
  auto store = new_store();
  check(::X509_STORE_load_path(store.get(), folder.c_str()) == 1, "OpenSSL can look into a folder");
  return store;
}

/// Are there names such as 5ed36f99.0?
bool has_hashed_names(const fs::path& folder) {
  constexpr std::size_t kDigits = 8;
  std::error_code unreadable;
  for (auto entry = fs::directory_iterator(folder, unreadable); !unreadable && entry != fs::directory_iterator();
       entry.increment(unreadable)) {
    const auto name = entry->path().filename().string();
    if (name.size() == kDigits + 2 && name.ends_with(".0") &&
        std::all_of(name.begin(), name.begin() + kDigits, [](char c) { return ::isxdigit(c) != 0; })) {
      return true;
    }
  }
  return false;
}

TlsAuthorities named_by_variables(const std::string& file, const std::string& folder) {
  if (file.empty()) return {.store = store_of_folder(folder), .source = folder};
  if (folder.empty()) return {.store = shared_store_of(file), .source = file};
  const auto bytes = read_file(file, kMostAuthorityBytes);
  auto store = store_of(as_text(bytes), file);
  check(::X509_STORE_load_path(store.get(), folder.c_str()) == 1, "OpenSSL can look into a folder");
  return {.store = std::move(store), .source = fmt::format("{} and {}", file, folder)};
}

}  // namespace

TlsAuthorities find_authorities(const std::string& file, const Environment& environment) {
  if (!file.empty()) return {.store = shared_store_of(file), .source = file};
  const auto named_file = environment("SSL_CERT_FILE").value_or("");
  const auto named_folder = environment("SSL_CERT_DIR").value_or("");
  if (!named_file.empty() || !named_folder.empty()) return named_by_variables(named_file, named_folder);
  if (has_hashed_names(kSystemFolder)) return {.store = store_of_folder(kSystemFolder), .source = kSystemFolder};
  for (const auto* name : kSystemFiles) {
    std::error_code unreadable;
    if (fs::is_regular_file(name, unreadable)) return {.store = shared_store_of(name), .source = name};
  }
  throw Error(ErrorKind::kNotFound,
              fmt::format("TLS: this system has no certificates of authorities: looked for {} and {}", kSystemFiles[0],
                          kSystemFiles[1]),
              "install the package ca-certificates, or set SSL_CERT_FILE to a file of certificates (PEM)");
}

}  // namespace virga
