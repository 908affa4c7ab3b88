#include "io/link_credentials.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/text.h"
#include "io/system_error.h"
#include "io/unique_fd.h"

namespace holdfast::io {
namespace {

constexpr std::size_t kCredentialBytesMax = std::size_t{256} << 10;
constexpr std::size_t kSecretBytesMin = 32;
constexpr std::size_t kSecretBytesMax = 255;

enum class Privacy : std::uint8_t { anybody, owner_only };

Result<NamedText> read_credential(const std::string& path, Privacy privacy) {
  // Not blocking: the path may name a pipe by mistake.
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail(system_error(errno, concat("cannot open ", path)));
  struct stat about{};
  if (::fstat(fd.get(), &about) != 0) return fail(system_error(errno, concat("cannot look at ", path)));
  if (!S_ISREG(about.st_mode)) return fail(Errc::invalid_argument, concat(path, " is not a file"));
  // A group that reads it is somebody's choice (a key that a service gets from a certificate manager).
  constexpr mode_t kOfOthers = S_IWGRP | S_IRWXO;
  if (privacy == Privacy::owner_only && (about.st_mode & kOfOthers) != 0)
    return fail(Errc::permission, concat(path, " can be read or changed by others: run chmod 600 on it"));
  NamedText out{path, {}};
  std::array<char, 4096> piece;
  ssize_t bytes = 0;
  while ((bytes = ::read(fd.get(), piece.data(), piece.size())) > 0 && out.text.size() <= kCredentialBytesMax)
    out.text.append(piece.data(), static_cast<std::size_t>(bytes));
  if (bytes < 0) return fail(system_error(errno, concat("cannot read ", path)));
  if (out.text.size() > kCredentialBytesMax) return fail(Errc::invalid_argument, concat(path, " has more than ", kCredentialBytesMax, " bytes"));
  return out;
}

// One secret a line; an empty last line is none.
Result<std::vector<std::string>> secrets_of(const NamedText& file) {
  std::vector<std::string> out;
  std::string_view left = file.text;
  while (!left.empty()) {
    const std::size_t end = std::min(left.find('\n'), left.size());
    std::string_view line = left.substr(0, end);
    left.remove_prefix(std::min(end + 1, left.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (out.size() == TlsContext::kSecretsMax)
      return fail(Errc::invalid_argument, concat(file.name, " has more than two lines: the secret in use, and one that is accepted as well"));
    if (line.size() < kSecretBytesMin || line.size() > kSecretBytesMax)
      return fail(Errc::invalid_argument, concat(file.name, ": line ", out.size() + 1, " has ", line.size(), " bytes; a secret has ", kSecretBytesMin, " to ",
                                                 kSecretBytesMax, " (openssl rand -base64 32 makes one)"));
    out.emplace_back(line);
  }
  if (out.empty()) return fail(Errc::invalid_argument, concat(file.name, " is empty: openssl rand -base64 32 makes a secret"));
  if (out.size() == 2 && out[0] == out[1]) return fail(Errc::invalid_argument, concat(file.name, " has the same secret twice"));
  return out;
}

Result<std::array<std::uint8_t, 32>> digest_of(const std::vector<NamedText>& texts) {
  std::array<std::uint8_t, 32> out{};
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  bool good = context && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1;
  for (const NamedText& text : texts) {
    const std::uint64_t bytes = text.text.size();
    good = good && EVP_DigestUpdate(context, &bytes, sizeof bytes) == 1 && EVP_DigestUpdate(context, text.text.data(), text.text.size()) == 1;
  }
  good = good && EVP_DigestFinal_ex(context, out.data(), nullptr) == 1;
  EVP_MD_CTX_free(context);
  if (!good) return fail(Errc::unsupported, "OpenSSL computes no SHA-256");
  return out;
}

}  // namespace

Result<std::shared_ptr<LinkCredentials>> LinkCredentials::load(LinkSecurity security, LinkIdentity self) {
  TRY(check_link_security(security, self, Endpoint{"127.0.0.1", 0}));
  std::shared_ptr<LinkCredentials> out(new LinkCredentials(std::move(security), std::move(self)));
  TRY(out->look());
  return out;
}

Result<LinkCredentials::Texts> LinkCredentials::read_files() const {
  Texts out;
  const auto take = [&out](const std::string& path, Privacy privacy) -> Result<void> {
    auto text = read_credential(path, privacy);
    if (!text) return fail(std::move(text).error());
    out.push_back(std::move(*text));
    return {};
  };
  if (security_.proof == LinkProof::secret) {
    TRY(take(security_.secret_file, Privacy::owner_only));
  } else {
    TRY(take(security_.ca_file, Privacy::anybody));
    TRY(take(security_.certificate_file, Privacy::anybody));
    TRY(take(security_.key_file, Privacy::owner_only));
  }
  return out;
}

Result<std::shared_ptr<const TlsContext>> LinkCredentials::make(const Texts& texts) const {
  if (security_.proof == LinkProof::certificate)
    return TlsContext::of_certificates({.authorities = texts[0], .certificate = texts[1], .key = texts[2]}, self_);
  const auto secrets = secrets_of(texts[0]);
  if (!secrets) return fail(secrets.error());
  return TlsContext::of_secrets(*secrets, self_.cluster);
}

Result<void> LinkCredentials::look() {
  if (security_.proof == LinkProof::none) return {};
  const auto texts = read_files();
  if (!texts) return fail(texts.error());
  const auto digest = digest_of(*texts);
  if (!digest) return fail(digest.error());
  if (*digest == seen_) return {};
  auto context = make(*texts);
  if (!context) return fail(std::move(context).error());
  seen_ = *digest;
  if (context_) log_info("the links' credentials have changed: new connections use the new ones");
  context_ = std::move(*context);
  return {};
}

std::shared_ptr<const TlsContext> LinkCredentials::current() {
  const std::lock_guard lock(mutex_);
  const auto looked = look();
  if (looked) told_.clear();
  else tell(looked.error());
  return context_;
}

void LinkCredentials::tell(const Error& error) {
  if (error.message == told_) return;
  told_ = error.message;
  log_warning(concat("the links go on with the credentials they had: ", error.message));
}

}  // namespace holdfast::io
