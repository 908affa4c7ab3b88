#include "io/tls_context.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <span>

#include "base/ensure.h"
#include "base/log.h"
#include "base/text.h"
#include "io/tls_error.h"

namespace holdfast::io {
namespace {

// The pre-shared key's hash is SHA-256, and so must be the suite's; certificates do not care.
constexpr const char* kSuitesWithSecret = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kSuitesWithCertificates = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* kGroups = "X25519:P-256";
constexpr unsigned char kAes128GcmSha256[] = {0x13, 0x01};
constexpr unsigned char kSessionContext[] = {'h', 'o', 'l', 'd', 'f', 'a', 's', 't'};
constexpr long kPeerChainBytesMax = 64 << 10;
constexpr int kChainDepthMax = 8;
constexpr std::size_t kCertificatesInFileMax = 64;
constexpr int kNamesInCertificateMax = 64;

constexpr std::string_view kHkdfSalt = "holdfast link secret 1";
constexpr std::string_view kKeyLabel = "psk ";
constexpr std::string_view kKeyIdLabel = "key id ";
constexpr std::size_t kKeyIdBytes = 8;

template <auto Free>
struct FreeBy {
  template <class T>
  void operator()(T* object) const { Free(object); }
};
using BioPtr = std::unique_ptr<BIO, FreeBy<BIO_free_all>>;
using CertificatePtr = std::unique_ptr<X509, FreeBy<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, FreeBy<EVP_PKEY_free>>;
using SessionPtr = std::unique_ptr<SSL_SESSION, FreeBy<SSL_SESSION_free>>;
using KdfPtr = std::unique_ptr<EVP_KDF, FreeBy<EVP_KDF_free>>;
using KdfContextPtr = std::unique_ptr<EVP_KDF_CTX, FreeBy<EVP_KDF_CTX_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, FreeBy<GENERAL_NAMES_free>>;

std::unexpected<Error> bad_file(const NamedText& file, std::string_view what) {
  ERR_clear_error();
  return fail(Errc::invalid_argument, concat(file.name, " ", what));
}

BioPtr reader_of(const NamedText& file) { return BioPtr(BIO_new_mem_buf(file.text.data(), static_cast<int>(file.text.size()))); }

int no_passphrase(char*, int, int, void*) { return -1; }

// All certificates of a file, in order.
Result<std::vector<CertificatePtr>> read_certificates(const NamedText& file) {
  const BioPtr in = reader_of(file);
  std::vector<CertificatePtr> out;
  while (CertificatePtr one{PEM_read_bio_X509(in.get(), nullptr, no_passphrase, nullptr)}) {
    if (out.size() == kCertificatesInFileMax) return bad_file(file, "holds too many certificates");
    out.push_back(std::move(one));
  }
  const unsigned long last = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  if (!at_end) return bad_file(file, "holds a damaged certificate");
  if (out.empty()) return bad_file(file, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
  ERR_clear_error();
  return out;
}

Result<void> trust(SSL_CTX* context, const NamedText& authorities) {
  auto certificates = read_certificates(authorities);
  if (!certificates) return fail(std::move(certificates).error());
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);  // What is in the file is trusted, be it a root or not.
  for (const CertificatePtr& one : *certificates) {
    if (X509_check_ca(one.get()) == 0) return bad_file(authorities, "holds a certificate that is no authority's (basicConstraints CA:TRUE is missing)");
    if (X509_STORE_add_cert(store, one.get()) != 1) return bad_file(authorities, "holds a certificate that OpenSSL does not take");
  }
  return {};
}

Result<void> show(SSL_CTX* context, const TlsContext::Certificates& files, const LinkIdentity& self) {
  auto chain = read_certificates(files.certificate);
  if (!chain) return fail(std::move(chain).error());
  X509* own = chain->front().get();
  const auto names = nodes_named_by(own);
  if (std::ranges::find(names, self) == names.end())
    return bad_file(files.certificate, concat("names ", node_uris(names), ", but this is ", node_uri(self),
                                              " (subjectAltName URI): the other nodes would refuse it"));
  if (SSL_CTX_use_certificate(context, own) != 1) return bad_file(files.certificate, concat("is not usable: ", take_tls_reason()));
  for (std::size_t i = 1; i < chain->size(); ++i)
    if (SSL_CTX_add1_chain_cert(context, (*chain)[i].get()) != 1) return bad_file(files.certificate, "has a chain that OpenSSL does not take");
  const KeyPtr key(PEM_read_bio_PrivateKey(reader_of(files.key).get(), nullptr, no_passphrase, nullptr));
  if (!key) return bad_file(files.key, "holds no private key in PEM form, or an encrypted one: it must be without a passphrase");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1)
    return bad_file(files.key, concat("is not the key of ", files.certificate.name));
  if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0) log_warning(concat(files.certificate.name, " has expired: the other nodes refuse it; renew it"));
  return {};
}

// A session that stands for the key, as OpenSSL wants external ones.
SSL_SESSION* session_of(SSL* connection, const TlsContext::SharedKey& key) {
  SessionPtr session(SSL_SESSION_new());
  const SSL_CIPHER* suite = SSL_CIPHER_find(connection, kAes128GcmSha256);
  if (!session || !suite || SSL_SESSION_set1_master_key(session.get(), key.key.data(), key.key.size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), suite) != 1 || SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1 ||
      SSL_SESSION_set1_id_context(session.get(), kSessionContext, sizeof kSessionContext) != 1)
    return nullptr;
  return session.release();
}

const std::vector<TlsContext::SharedKey>& keys_of(SSL* connection) {
  return *static_cast<const std::vector<TlsContext::SharedKey>*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(connection)));
}

// OpenSSL calls: what does this side, which dials, offer?
int offer_key(SSL* connection, const EVP_MD*, const unsigned char** identity, std::size_t* identity_bytes, SSL_SESSION** session) {
  const TlsContext::SharedKey& key = keys_of(connection).front();
  *session = session_of(connection, key);
  *identity = reinterpret_cast<const unsigned char*>(key.identity.data());
  *identity_bytes = key.identity.size();
  return *session ? 1 : 0;
}

// OpenSSL calls: is this identity known here, where this side listens? Without a session the handshake fails: there is no certificate.
int find_key(SSL* connection, const unsigned char* identity, std::size_t identity_bytes, SSL_SESSION** session) {
  *session = nullptr;
  const std::string_view wanted(reinterpret_cast<const char*>(identity), identity_bytes);
  for (const TlsContext::SharedKey& key : keys_of(connection)) {
    if (key.identity != wanted) continue;
    *session = session_of(connection, key);
    return *session ? 1 : 0;
  }
  return 1;
}

Result<void> hkdf(const std::string& secret, const std::string& info, std::span<std::uint8_t> out) {
  const KdfPtr kdf(EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_HKDF, nullptr));
  const KdfContextPtr context(kdf ? EVP_KDF_CTX_new(kdf.get()) : nullptr);
  char digest[] = "SHA256";
  // OpenSSL's parameters are not const; it does not write to these.
  const auto octets = [](const char* name, std::string_view value) {
    return OSSL_PARAM_construct_octet_string(name, const_cast<char*>(value.data()), value.size());
  };
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0), octets(OSSL_KDF_PARAM_KEY, secret),
                                   octets(OSSL_KDF_PARAM_SALT, kHkdfSalt), octets(OSSL_KDF_PARAM_INFO, info), OSSL_PARAM_construct_end()};
  if (!context || EVP_KDF_derive(context.get(), out.data(), out.size(), parameters) != 1)
    return fail(Errc::io_error, concat("OpenSSL derives no key from the links' secret: ", take_tls_reason()));
  return {};
}

}  // namespace

Result<TlsContext::SharedKey> derive_shared_key(const std::string& secret, const std::string& cluster) {
  TlsContext::SharedKey out;
  TRY(hkdf(secret, concat(kKeyLabel, cluster), out.key));
  std::array<std::uint8_t, kKeyIdBytes> id;
  TRY(hkdf(secret, concat(kKeyIdLabel, cluster), id));
  out.identity = concat("holdfast 1 ", cluster, " ");
  constexpr char kDigits[] = "0123456789abcdef";
  for (const std::uint8_t byte : id) out.identity.append({kDigits[byte >> 4], kDigits[byte & 15]});
  return out;
}

std::vector<LinkIdentity> nodes_named_by(X509* certificate) {
  std::vector<LinkIdentity> out;
  const NamesPtr names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  const int count = names ? std::min(sk_GENERAL_NAME_num(names.get()), kNamesInCertificateMax) : 0;
  for (int i = 0; i < count; ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    const std::string_view text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)), static_cast<std::size_t>(ASN1_STRING_length(uri)));
    if (auto node = parse_node_uri(text)) out.push_back(std::move(*node));
  }
  return out;
}

Result<void> TlsContext::prepare() {
  ERR_clear_error();
  context_.reset(SSL_CTX_new(TLS_method()));
  SSL_CTX* context = context_.get();
  const bool secret = proof_ == LinkProof::secret;
  if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 || SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, secret ? kSuitesWithSecret : kSuitesWithCertificates) != 1 || SSL_CTX_set1_groups_list(context, kGroups) != 1 ||
      SSL_CTX_set_num_tickets(context, 0) != 1 || SSL_CTX_set_session_id_context(context, kSessionContext, sizeof kSessionContext) != 1)
    return fail(Errc::unsupported, concat("OpenSSL does not do what the links need: ", take_tls_reason()));
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_max_cert_list(context, kPeerChainBytesMax);
  SSL_CTX_set_verify_depth(context, kChainDepthMax);
  // Of a side with secrets, too: it trusts no authority, and so takes no certificate in place of the secret.
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (secret ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT), nullptr);
  return {};
}

Result<std::shared_ptr<const TlsContext>> TlsContext::of_certificates(const Certificates& files, const LinkIdentity& self) {
  std::shared_ptr<TlsContext> out(new TlsContext(LinkProof::certificate));
  TRY(out->prepare());
  TRY(trust(out->native(), files.authorities));
  TRY(show(out->native(), files, self));
  return out;
}

Result<std::shared_ptr<const TlsContext>> TlsContext::of_secrets(const std::vector<std::string>& secrets, const std::string& cluster) {
  ENSURE(!secrets.empty() && secrets.size() <= kSecretsMax);
  std::shared_ptr<TlsContext> out(new TlsContext(LinkProof::secret));
  TRY(out->prepare());
  for (const std::string& secret : secrets) {
    auto key = derive_shared_key(secret, cluster);
    if (!key) return fail(std::move(key).error());
    out->keys_.push_back(std::move(*key));
  }
  SSL_CTX_set_app_data(out->native(), &out->keys_);
  SSL_CTX_set_psk_use_session_callback(out->native(), offer_key);
  SSL_CTX_set_psk_find_session_callback(out->native(), find_key);
  return out;
}

}  // namespace holdfast::io
