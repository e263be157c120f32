#include "guest-images/linux/loader/boot_configuration.hpp"

#include <gtest/gtest.h>

#include <map>
#include <span>
#include <string>

#include "guest-images/linux/loader/boot_loader_entries.hpp"
#include "guest-images/linux/loader/grub_machine.hpp"
#include "guest-images/linux/loader/superblock.hpp"
#include "guest-images/linux/loader/version_order.hpp"

namespace penumbra::loader {
namespace {

/// File systems in memory.
class MapFiles : public BootFiles {
public:
    std::size_t add(const std::string& grub_name, const std::string& uuid, const std::string& label = {}) {
        systems_.push_back({grub_name, "vda" + std::to_string(systems_.size() + 1), uuid, label});
        contents_.emplace_back();
        return systems_.size() - 1;
    }
    void put(std::size_t system, const std::string& path, const std::string& text = "x") {
        contents_[system][path] = text;
    }

    const std::vector<FileSystem>& file_systems() const override { return systems_; }
    std::optional<std::string> read(const FileReference& file, std::size_t limit) const override {
        const auto at = contents_[file.file_system].find(file.path);
        if (at == contents_[file.file_system].end() || at->second.size() > limit) return std::nullopt;
        return at->second;
    }
    bool exists(const FileReference& file) const override { return contents_[file.file_system].contains(file.path); }
    std::vector<std::string> list(const FileReference& folder, std::size_t limit) const override {
        const std::string start = folder.path.ends_with('/') ? folder.path : folder.path + "/";
        std::map<std::string, int> names;
        for (const auto& [path, text] : contents_[folder.file_system]) {
            if (path.starts_with(start)) names[path.substr(start.size(), path.find('/', start.size()) - start.size())];
        }
        std::vector<std::string> out;
        for (const auto& [name, unused] : names) {
            if (out.size() < limit) out.push_back(name);
        }
        return out;
    }

private:
    std::vector<FileSystem> systems_;
    std::vector<std::map<std::string, std::string>> contents_;
};

std::string told(const std::expected<BootEntry, std::string>& entry) {
    if (!entry) return "error: " + entry.error();
    std::string text = entry->kernel.path + "|";
    for (const FileReference& initrd : entry->initrds) text += initrd.path + " ";
    return text + "|" + entry->command_line;
}

/// One file system "hd0,1" with /boot/grub/grub.cfg and two kernels.
class GrubTest : public testing::Test {
protected:
    void SetUp() override {
        files_.add("hd0,1", "aaaa-1");
        for (const char* version : {"6.1.0-9", "6.12.5"}) {
            files_.put(0, std::string("/boot/vmlinuz-") + version);
            files_.put(0, std::string("/boot/initrd.img-") + version);
        }
    }
    std::string boots(const std::string& script) {
        files_.put(0, "/boot/grub/grub.cfg", script);
        return told(read_boot_configuration(files_));
    }

    MapFiles files_;
    const std::string entries_ = R"(
menuentry 'New' --class debian $menuentry_id_option 'id-new' { linux /boot/vmlinuz-6.12.5 root=/dev/vda1 ro quiet
  initrd /boot/initrd.img-6.12.5 }
submenu 'More' --id 'id-more' {
  menuentry "Old > one" --id old { linux /boot/vmlinuz-6.1.0-9 root=/dev/vda1 old; initrd /boot/initrd.img-6.1.0-9; }
  menuentry "Gone" { linux /boot/vmlinuz-7 ; }
})";
    const std::string new_ = "/boot/vmlinuz-6.12.5|/boot/initrd.img-6.12.5 |root=/dev/vda1 ro quiet";
    const std::string old_ = "/boot/vmlinuz-6.1.0-9|/boot/initrd.img-6.1.0-9 |root=/dev/vda1 old";
};

TEST_F(GrubTest, DefaultIsTheFirstEntry) {
    EXPECT_EQ(boots(entries_), new_);
    EXPECT_EQ(boots("set default=\"0\"\n" + entries_), new_);
}

TEST_F(GrubTest, DefaultMayBeNumberIdTitleOrPath) {
    EXPECT_EQ(boots("default=1\n" + entries_), old_);
    EXPECT_EQ(boots("set default=\"1>0\"\n" + entries_), old_);
    EXPECT_EQ(boots("set default='id-more>old'\n" + entries_), old_);
    EXPECT_EQ(boots("set default=New\n" + entries_), new_);
    EXPECT_EQ(boots("set menuentry_id_option=--id; set default=id-new\n" + entries_), new_);
}

TEST_F(GrubTest, DefaultThatIsNotThereGivesTheNewest) {
    EXPECT_EQ(boots("set default=nonsense\n" + entries_), new_);
    EXPECT_EQ(boots("set default='1>1'\n" + entries_), new_) << "its kernel is gone";
    EXPECT_EQ(boots("set default=99999999999999999999\n" + entries_), new_);
}

TEST_F(GrubTest, EntryWithAMenuOfItsOwnKeepsItsPlace) {
    std::string inner;
    for (int i = 0; i < 50; ++i) inner += "menuentry inner { linux /none; }\n";
    files_.put(0, "/boot/inner.cfg", inner);
    EXPECT_EQ(boots("menuentry outer { source /boot/inner.cfg\n linux /boot/vmlinuz-6.1.0-9 a=1; }\n" + entries_),
              "/boot/vmlinuz-6.1.0-9||a=1");
}

TEST_F(GrubTest, SavedEntryComesFromTheEnvironmentBlock) {
    files_.put(0, "/boot/grub/grubenv",
               "# GRUB Environment "
               "Block\nsaved_entry=id-more>old\nnext_entry=New\n####");
    const std::string script = R"(
if [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="${saved_entry}"
fi
)";
    EXPECT_EQ(boots(script + entries_), old_);
}

TEST_F(GrubTest, ConditionsLoopsAndFunctionsAreFollowed) {
    EXPECT_EQ(boots(R"(
function choose { if [ x$1 = x ]; then set default=1; fi }
set n=
for i in a b; do set n=$n$i; done
while [ "$n" = ab ]; do set n=done; done
if [ "$n" != done -o -f /nothing ]; then true; elif ! false && true; then choose; else set default=0; fi
)" + entries_),
              old_);
}

TEST_F(GrubTest, SearchFindsFileSystems) {
    const std::size_t boot = files_.add("hd0,2", "BBBB-2", "bootfs");
    files_.put(boot, "/vmlinuz-8");
    const std::string body = "linux /vmlinuz-8 a=1; }";
    EXPECT_EQ(boots("menuentry a { search --no-floppy --fs-uuid --set=root "
                    "--hint-bios=hd0,msdos9 bbbb-2; " +
                    body),
              "/vmlinuz-8||a=1");
    EXPECT_EQ(boots("menuentry a { search --label --set=root bootfs; " + body), "/vmlinuz-8||a=1");
    EXPECT_EQ(boots("menuentry a { search -f --set root /vmlinuz-8; " + body), "/vmlinuz-8||a=1");
    EXPECT_EQ(boots("menuentry a { set root='hd0,gpt2'; " + body), "/vmlinuz-8||a=1");
    EXPECT_EQ(boots("menuentry a { linux (hd0,msdos2)/vmlinuz-8 a=1; }"), "/vmlinuz-8||a=1");
}

TEST_F(GrubTest, StubOnTheSystemPartitionLeadsToTheRealScript) {
    MapFiles files;
    const std::size_t system = files.add("hd0,1", "ESP");
    const std::size_t root = files.add("hd0,2", "r-uuid");
    files.put(system, "/EFI/debian/grub.cfg",
              "search.fs_uuid r-uuid root hd0,gpt2\nset "
              "prefix=($root)'/grub'\nconfigfile $prefix/grub.cfg\n");
    files.put(root, "/grub/grub.cfg", "menuentry real { linux /vmlinuz-1 root=LABEL=x; }");
    files.put(root, "/vmlinuz-1");
    EXPECT_EQ(told(read_boot_configuration(files)), "/vmlinuz-1||root=LABEL=x");
}

TEST_F(GrubTest, QuotingAndSplitting) {
    EXPECT_EQ(boots("set opts='a=1  b=2'\nmenuentry q {\n linux "
                    "/boot/vmlinuz-6.12.5 $opts \"$opts\" 'c$d' e\\ f \\\n  g }"),
              "/boot/vmlinuz-6.12.5||a=1 b=2 \"a=1  b=2\" c$d \"e f\" g");
}

TEST_F(GrubTest, BrokenScriptsSayTheLine) {
    files_.put(0, "/boot/grub/grub.cfg", "\nif true; then\nfi }\n");
    GrubMachine machine(files_, 0, "/boot/grub");
    const auto ran = machine.run_file({0, "/boot/grub/grub.cfg"});
    ASSERT_FALSE(ran);
    EXPECT_NE(ran.error().find("line 3"), std::string::npos) << ran.error();
}

TEST_F(GrubTest, EndlessScriptsEnd) {
    const auto why = [&](const std::string& text) {
        GrubMachine fresh(files_, 0, "/boot/grub");
        const auto ran = fresh.run_text(text);
        return ran ? std::string("ran") : ran.error();
    };
    EXPECT_NE(why("while true; do set a=b; done").find("20000"), std::string::npos);
    EXPECT_NE(why("while true; do\ndone").find("20000"), std::string::npos);
    EXPECT_NE(why("function f { f; }\nf").find("calls itself"), std::string::npos);
    EXPECT_NE(why("set a=0123456789\nwhile true; do set a=$a$a; done").find("8 MiB"), std::string::npos);
    files_.put(0, "/loop", "source /loop");
    EXPECT_NE(why("source /loop").find("calls itself"), std::string::npos);
    std::string deep;
    for (int i = 0; i < 100; ++i) deep += "if true; then ";
    EXPECT_NE(why(deep).find("too deep"), std::string::npos);
    EXPECT_NE(why("for i in 1 2; do while true; do menuentry a { true; }; done; done").find("1000 menu"),
              std::string::npos);
}

TEST_F(GrubTest, ConfigurationWithoutKernelsFallsBackToFiles) {
    EXPECT_EQ(boots("menuentry memtest { linux16 /memtest; }"),
              "/boot/vmlinuz-6.12.5|/boot/initrd.img-6.12.5 |root=/dev/vda1 ro");
    MapFiles empty;
    empty.add("hd0", "");
    EXPECT_NE(told(read_boot_configuration(empty)).find("no grub.cfg"), std::string::npos);
    empty.put(0, "/grub/grub.cfg", "if");
    EXPECT_NE(told(read_boot_configuration(empty)).find("/grub/grub.cfg: line 1"), std::string::npos);
}

class EntriesTest : public testing::Test {
protected:
    void SetUp() override {
        files_.add("hd0,1", "u");
        files_.put(0, "/vmlinuz-6.9");
        files_.put(0, "/vmlinuz-6.10");
        files_.put(0, "/i-6.9");
        files_.put(0, "/loader/entries/m-6.9.conf",
                   "# text\ntitle Nine\nversion 6.9\nlinux /vmlinuz-6.9\ninitrd "
                   "/i-6.9\noptions root=/dev/vda\toptions\n");
        files_.put(0, "/loader/entries/m-6.10.conf",
                   "title Ten\nversion 6.10\nlinux /vmlinuz-6.10\noptions "
                   "$kernelopts x\noptions y\n");
        files_.put(0, "/loader/entries/efi.conf", "title Shell\nefi /shell.efi\n");
        files_.put(0, "/loader/entries/README", "linux /nothing\n");
    }
    MapFiles files_;
};

TEST_F(EntriesTest, NewestIsFirst) { EXPECT_EQ(told(read_boot_configuration(files_)), "/vmlinuz-6.10||x y"); }

TEST_F(EntriesTest, LoaderConfNamesTheDefault) {
    files_.put(0, "/loader/loader.conf", "timeout 3\ndefault m-6.9*\n");
    EXPECT_EQ(told(read_boot_configuration(files_)), "/vmlinuz-6.9|/i-6.9 |root=/dev/vda options");
}

TEST_F(EntriesTest, GrubTakesThemWithItsVariables) {
    files_.put(0, "/grub2/grubenv", "saved_entry=m-6.10\nkernelopts=root=UUID=1 ro\n");
    files_.put(0, "/grub2/grub.cfg", "load_env\nset default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n");
    EXPECT_EQ(told(read_boot_configuration(files_)), "/vmlinuz-6.10||root=UUID=1 ro x y");
}

std::string identified(const std::map<std::size_t, std::string>& pieces, std::size_t size = superblock_bytes) {
    std::string device(superblock_bytes, '\0');
    for (const auto& [offset, bytes] : pieces) device.replace(offset, bytes.size(), bytes);
    device.resize(size);
    const auto found = read_superblock(std::as_bytes(std::span(device)));
    return found ? found->driver + " " + found->uuid + " " + found->label : "nothing";
}

TEST(Superblock, TellsFileSystemUuidAndLabel) {
    const std::string uuid =
        "\x5c\xa1\xab\x1e"
        "0123456789ab";
    const std::string text = "5ca1ab1e-3031-3233-3435-363738396162";
    EXPECT_EQ(identified({{1080, "\x53\xEF"}, {1128, uuid}, {1144, "root"}}), "ext4 " + text + " root");
    EXPECT_EQ(identified({{0, "XFSB"}, {32, uuid}, {108, "twelve chars and more"}}), "xfs " + text + " twelve chars");
    EXPECT_EQ(identified({{65600, "_BHRfS_M"}, {65568, uuid}, {65835, "b"}}), "btrfs " + text + " b");
    EXPECT_EQ(identified({{0x52, "FAT32   "}, {0x43, "\x34\x12\xcd\xab"}, {0x47, "EFI        "}}),
              "vfat ABCD-1234 EFI");
    EXPECT_EQ(identified({}), "nothing");
    EXPECT_EQ(identified({{1080, "\x53\xEF"}}, superblock_bytes - 1), "nothing");
}

TEST(VersionOrder, IsThatOfPackages) {
    const std::vector<std::string> rising{"1.0~rc1",
                                          "1.0",
                                          "1.0-1",
                                          "1.0.1",
                                          "1.2",
                                          "1.10",
                                          "1.010.1",
                                          "2a",
                                          "2.1",
                                          "10",
                                          "99999999999999999999999",
                                          "100000000000000000000000"};
    for (std::size_t i = 0; i < rising.size(); ++i) {
        for (std::size_t j = 0; j < rising.size(); ++j) {
            EXPECT_TRUE(compare_versions(rising[i], rising[j]) == (i <=> j)) << rising[i] << " and " << rising[j];
        }
    }
    EXPECT_TRUE(compare_versions("6.1.0-56-cloud-amd64", "6.12.117+deb12-cloud-amd64") < 0);
    EXPECT_TRUE(compare_versions("1.01", "1.1") == 0);
}

}  // namespace
}  // namespace penumbra::loader
