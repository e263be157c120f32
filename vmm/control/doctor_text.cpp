// The rendering half of doctor.hpp.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "vmm/control/doctor.hpp"
#include "vmm/control/json_text.hpp"
#include "vmm/control/size_text.hpp"

namespace penumbra::vmm {

namespace {

namespace json = boost::json;

const char* name_of(Standing standing) {
    switch (standing) {
        case Standing::ok:
            return "ok";
        case Standing::limited:
            return "limited";
        case Standing::missing:
            break;
    }
    return "missing";
}

Paint paint_of(Standing standing) {
    switch (standing) {
        case Standing::ok:
            return Paint::good;
        case Standing::limited:
            return Paint::caution;
        case Standing::missing:
            break;
    }
    return Paint::bad;
}

/// `text` broken at spaces into lines of at most `width` where words allow; further lines start at column `indent`.
std::string wrapped(std::string_view text, std::size_t width, std::size_t indent) {
    std::string lines;
    while (text.size() > width) {
        std::size_t at = text.rfind(' ', width);
        if (at == std::string_view::npos || at == 0) at = text.find(' ', 1);
        if (at == std::string_view::npos) break;
        lines += text.substr(0, at);
        lines += "\n" + std::string(indent, ' ');
        text.remove_prefix(at + 1);
    }
    return lines + std::string{text} + "\n";
}

json::value or_null(const std::optional<std::uint64_t>& number) {
    return number ? json::value(*number) : json::value(nullptr);
}

json::object facts_json(const HostFacts& facts) {
    return {{"kernel", facts.kernel},
            {"cpus", facts.cpus},
            {"ram_bytes", facts.ram_bytes},
            {"host_swap_bytes", facts.host_swap_bytes},
            {"kvm_flavour", name_of(facts.kvm.flavour)},
            {"userfaultfd_features", facts.userfaultfd.features},
            {"cgroup_version", facts.cgroup.version},
            {"cgroup_limit_bytes", or_null(facts.cgroup.limit_bytes)},
            {"memlock_bytes", or_null(facts.memlock_bytes)}};
}

}  // namespace

std::string doctor_table(const Diagnosis& diagnosis, Colour colour) {
    constexpr std::size_t standing_width = 7;
    constexpr std::size_t text_width = 76;
    std::size_t item_width = 0;
    for (const Finding& finding : diagnosis.findings) item_width = std::max(item_width, finding.item.size());
    const std::size_t indent = item_width + standing_width + 6;
    const std::string margin(indent, ' ');
    std::string text;
    for (const Finding& finding : diagnosis.findings) {
        const std::string standing = fmt::format("{:<{}}", name_of(finding.standing), standing_width);
        text += fmt::format("  {:<{}}  {}  ", finding.item, item_width,
                            painted(standing, paint_of(finding.standing), colour));
        text += wrapped(one_line(finding.found), text_width, indent);
        text += margin + wrapped(finding.means, text_width, indent);
        if (!finding.cure.empty()) text += margin + wrapped("cure: " + finding.cure, text_width, indent);
    }
    text += diagnosis.can_run ? painted("penumbra run works here", Paint::good, colour)
                              : painted("penumbra run does not work here with KVM", Paint::bad, colour);
    return text + "\n";
}

std::string doctor_json(const Diagnosis& diagnosis, const HostFacts& facts) {
    json::array findings;
    for (const Finding& finding : diagnosis.findings) {
        findings.push_back(json::object{{"item", finding.item},
                                        {"standing", name_of(finding.standing)},
                                        {"found", finding.found},
                                        {"means", finding.means},
                                        {"cure", finding.cure}});
    }
    const json::object root{
        {"can_run", diagnosis.can_run}, {"facts", facts_json(facts)}, {"findings", std::move(findings)}};
    return indented_json(root);
}

}  // namespace penumbra::vmm
