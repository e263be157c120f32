#!/bin/sh
# A command's own status comes back: of one that exits, of one that is missing.
# lab: kernels=6.1 limit=20
# lab-expect: 7 status of a missing command: 127
sh -c no-such-command
echo "status of a missing command: $?"
exit 7
