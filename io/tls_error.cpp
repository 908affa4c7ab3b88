#include "io/tls_error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "base/text.h"

namespace holdfast::io {
namespace {

// Alerts of the other side are reasons from here on, one each (RFC 8446 §6).
constexpr int kAlertReasons = SSL_AD_REASON_OFFSET;
constexpr int kAlertReasonsEnd = SSL_AD_REASON_OFFSET + 256;

std::string remedy_of_alert(int alert) {
  switch (alert) {
    case SSL_AD_UNKNOWN_CA: return "it does not know the authority of this node's certificate: look at its ca_file and this node's certificate_file";
    case SSL_AD_CERTIFICATE_EXPIRED: return "this node's certificate has expired, or the clocks differ: renew certificate_file";
    case SSL_AD_CERTIFICATE_REQUIRED: return "it wants a certificate: configure this node's links with certificates as well";
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN: return "it does not accept this node's certificate_file";
    case SSL_AD_PROTOCOL_VERSION: return "it does not speak TLS 1.3";
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_ILLEGAL_PARAMETER:
    case SSL_AD_UNKNOWN_PSK_IDENTITY:
    case SSL_AD_HANDSHAKE_FAILURE:
      return "the two sides are not secured alike: both need the same secret, or certificates of the same authority, and the same cluster name";
    default: return "its log says more";
  }
}

bool is_certificate_trouble(unsigned long code) {
  const int reason = ERR_GET_REASON(code);
  return reason == SSL_R_CERTIFICATE_VERIFY_FAILED || reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
}

std::string reason_text(unsigned long code) {
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason ? reason : "no reason is given";
}

}  // namespace

std::string take_tls_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  return reason_text(code);
}

Error take_tls_error(const SSL* connection) {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const int reason = ERR_GET_REASON(code);
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason >= kAlertReasons && reason < kAlertReasonsEnd)
    return Error(Errc::permission, concat("the other side refuses this one (", reason_text(code), "): ", remedy_of_alert(reason - kAlertReasons)));
  if (is_certificate_trouble(code)) {
    const long verdict = SSL_get_verify_result(connection);
    const std::string what = verdict == X509_V_OK ? "it shows none" : X509_verify_cert_error_string(verdict);
    return Error(Errc::permission, concat("the other side's certificate is not accepted: ", what, "; look at its certificate_file and this node's ca_file"));
  }
  return Error(Errc::protocol, concat("TLS fails: ", reason_text(code), "; are both sides secured, and alike?"));
}

}  // namespace holdfast::io
