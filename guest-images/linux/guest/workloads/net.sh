# Gets an address by DHCP, fetches penumbra.url= and says its SHA-256; compares it with penumbra.sum= where given.
. /penumbra/library.sh
network_up
url=$(option url '')
[ -n "$url" ] || fail "no penumbra.url= on the command line"
timeout 60 wget -q -O /tmp/fetched "$url" 2>/tmp/wget.log || fail "cannot fetch $url: $(tail -n 1 /tmp/wget.log)"
sum=$(sum_of /tmp/fetched)
say "net sha256 $sum bytes $(stat -c %s /tmp/fetched)"
wanted=$(option sum "$sum")
[ "$sum" = "$wanted" ] || fail "SHA-256 is $sum, not $wanted"
