// The operator's door behind the sockets: targets, methods, headers and bodies of strangers. Every request is answered once,
// with a known status, and what is made has passed the rules.
#include <cstdlib>

#include "admin/api.h"
#include "admin/names.h"
#include "base/ensure.h"
#include "test/admin/fake_node.h"

namespace {

using holdfast::admin::Request;
using holdfast::admin::Response;

// "METHOD target\ncontent type\nauthorization\nbody": the first lines of the input, the rest is the body.
Request request_of(std::string_view input) {
  const auto line = [&] {
    const std::size_t end = input.find('\n');
    std::string out(input.substr(0, end));
    input.remove_prefix(end == input.npos ? input.size() : end + 1);
    return out;
  };
  Request request;
  const std::string first = line();
  const std::size_t space = first.find(' ');
  request.method = first.substr(0, space);
  request.target = space == first.npos ? "" : first.substr(space + 1);
  request.content_type = line();
  request.authorization = line();
  request.body = input;
  return request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  holdfast::admin::FakeNode node;
  node.volume("pg").size_bytes = 1 << 20;
  const Request request = request_of({reinterpret_cast<const char*>(data), size});
  for (const char* token : {"", "0123456789abcdef"}) {
    unsigned answers = 0;
    Response response;
    holdfast::admin::Api(node, {token}).handle(request, [&](Response r) {
      ++answers;
      response = std::move(r);
    });
    ENSURE(answers == 1);
    ENSURE(response.status >= 200 && response.status < 600 && response.status != 500);
    if (response.status == 201) {
      node.status([](holdfast::Result<holdfast::NodeStatus> status) {
        for (const auto& volume : status->volumes) {
          ENSURE(holdfast::admin::check_volume_name(volume.name).has_value());
          ENSURE(holdfast::admin::check_volume_size(volume.size_bytes).has_value());
        }
      });
    }
  }
  return 0;
}
