#include "scsi/login_io.h"

namespace holdfast::scsi {
namespace {

Task<Result<void>> read_exactly(Stream* stream, std::byte* into, std::size_t bytes) {
  while (bytes > 0) {
    const iovec segment{into, bytes};
    const auto got = co_await stream->read_some({&segment, 1});
    if (!got) co_return fail(got.error());
    into += *got;
    bytes -= *got;
  }
  co_return Result<void>();
}

}  // namespace

Task<Result<SimplePdu>> read_simple_pdu(Stream* stream) {
  SimplePdu pdu;
  const auto header_read = co_await read_exactly(stream, pdu.header.raw.data(), kHeaderBytes);
  if (!header_read) co_return fail(header_read.error());
  const std::size_t data_bytes = pdu.header.data_bytes();
  if (data_bytes > kSegmentBytesDefault || pdu.header.ahs_bytes() != 0) co_return fail(Errc::protocol);
  if (data_bytes > 0) {
    pdu.text.resize(padded(data_bytes));
    const auto data_read =
        co_await read_exactly(stream, reinterpret_cast<std::byte*>(pdu.text.data()), pdu.text.size());
    if (!data_read) co_return fail(data_read.error());
    pdu.text.resize(data_bytes);
  }
  co_return pdu;
}

Task<Result<void>> write_simple_pdu(Stream* stream, Header header, std::string text) {
  header.set_data_bytes(static_cast<std::uint32_t>(text.size()));
  text.resize(padded(text.size()));
  const iovec segments[2] = {{header.raw.data(), kHeaderBytes}, {text.data(), text.size()}};
  const std::size_t count = text.empty() ? 1 : 2;
  auto written = co_await stream->write_all({segments, count});
  co_return written;
}

Task<Result<void>> write_login_reply(Stream* stream, const LoginMachine* machine) {
  auto written = co_await write_simple_pdu(stream, machine->reply_header(), machine->reply_text());
  co_return written;
}

Task<Result<LoginMachine::Step>> next_request(Stream* stream, LoginMachine* machine, Random* random) {
  const auto pdu = co_await read_simple_pdu(stream);
  if (!pdu) co_return fail(pdu.error());
  co_return machine->on_request(pdu->header, pdu->text, *random);
}

Task<Result<LoginMachine::Step>> converse(Stream* stream, LoginMachine* machine, LoginMachine::Step first,
                                          Random* random) {
  LoginMachine::Step step = first;
  while (step == LoginMachine::Step::reply) {
    const auto written = co_await write_login_reply(stream, machine);
    if (!written) co_return fail(written.error());
    const auto next = co_await next_request(stream, machine, random);
    if (!next) co_return fail(next.error());
    step = *next;
  }
  co_return step;
}

}  // namespace holdfast::scsi
