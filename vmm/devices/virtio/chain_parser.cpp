#include "vmm/devices/virtio/chain_parser.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace penumbra::vmm {

namespace {

// Descriptor flags (2.7.5).
constexpr std::uint16_t flag_next = 1;
constexpr std::uint16_t flag_write = 2;
constexpr std::uint16_t flag_indirect = 4;

constexpr std::uint64_t longest_chain = std::uint64_t{1} << 32;

bool overflows(std::uint64_t address, std::uint64_t bytes) {
    return address > std::numeric_limits<std::uint64_t>::max() - bytes;
}

}  // namespace

ChainParser::ChainParser(const ChainRules& rules, std::uint16_t head, std::uint32_t session, std::uint64_t sequence)
    : rules_(rules), table_(rules.descriptors), table_entries_(rules.queue_size), index_(head) {
    chain_.head = head;
    chain_.session = session;
    chain_.sequence = sequence;
}

ChainParser::Step ChainParser::broken(std::string_view why) {
    why_ = why;
    return Step::broken;
}

ChainParser::Step ChainParser::go_on(DmaClient& dma) {
    for (;;) {
        if (const Step read = read_descriptor(dma); read != Step::done) return read;
        Descriptor descriptor{};
        std::memcpy(&descriptor, bytes_.data(), sizeof(descriptor));
        have_ = 0;
        if (const std::optional<Step> end = use(descriptor)) return *end;
    }
}

ChainParser::Step ChainParser::read_descriptor(DmaClient& dma) {
    // An indirect table may lie anywhere, so a descriptor may cross a page. What was read of it stays read.
    const Gpa first = table_ + std::uint64_t{index_} * sizeof(Descriptor);
    while (have_ < bytes_.size()) {
        const Gpa at = first + have_;
        const std::size_t piece = std::min<std::size_t>(bytes_.size() - have_, page_bytes - page_offset(at));
        if (const auto read = dma.read(at, std::span(bytes_).subspan(have_, piece)); !read) {
            return read.error() == DmaMiss::absent ? Step::absent : broken("a descriptor lies outside of RAM");
        }
        have_ += piece;
    }
    return Step::done;
}

std::optional<ChainParser::Step> ChainParser::use(const Descriptor& descriptor) {
    if (++followed_ > table_entries_) return broken("a descriptor chain runs in a circle");
    if ((descriptor.flags & flag_indirect) != 0) return enter_indirect(descriptor);
    if (const std::optional<Step> refused = add_segment(descriptor)) return refused;
    if ((descriptor.flags & flag_next) == 0) return Step::done;
    if (descriptor.next >= table_entries_) return broken("a descriptor's successor lies outside of its table");
    index_ = descriptor.next;
    return std::nullopt;
}

std::optional<ChainParser::Step> ChainParser::enter_indirect(const Descriptor& descriptor) {
    if (!rules_.indirect) return broken("an indirect descriptor, which was not negotiated");
    if (in_indirect_) return broken("an indirect descriptor inside an indirect table");
    if ((descriptor.flags & flag_next) != 0) return broken("an indirect descriptor with a successor");
    if (descriptor.length == 0 || descriptor.length % sizeof(Descriptor) != 0) {
        return broken("an indirect table whose length is no multiple of a descriptor's");
    }
    if (overflows(descriptor.address, descriptor.length)) return broken("an indirect table beyond all addresses");
    in_indirect_ = true;
    table_ = Gpa{descriptor.address};
    table_entries_ = descriptor.length / sizeof(Descriptor);
    index_ = 0;
    followed_ = 0;
    return std::nullopt;
}

std::optional<ChainParser::Step> ChainParser::add_segment(const Descriptor& descriptor) {
    if (descriptor.length == 0) return broken("a descriptor without bytes");
    if (overflows(descriptor.address, descriptor.length)) return broken("a descriptor beyond all addresses");
    if (chain_.readable.size() + chain_.writable.size() == max_segments)
        return broken("too many descriptors in a chain");
    if (chain_.readable_bytes + chain_.writable_bytes + descriptor.length > longest_chain) {
        return broken("a chain of more than 2^32 bytes");
    }
    const Segment segment{Gpa{descriptor.address}, descriptor.length};
    if ((descriptor.flags & flag_write) != 0) {
        chain_.writable.push_back(segment);
        chain_.writable_bytes += segment.bytes;
        return std::nullopt;
    }
    // 2.7.4.2: what the device may write comes after what it may read.
    if (!chain_.writable.empty()) return broken("a readable descriptor after a writable one");
    chain_.readable.push_back(segment);
    chain_.readable_bytes += segment.bytes;
    return std::nullopt;
}

}  // namespace penumbra::vmm
