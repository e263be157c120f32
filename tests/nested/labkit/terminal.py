"""The user's terminal, joined to the lab's shell."""

import os
import shutil
import sys
import termios
import tty


class Terminal:
    def __init__(self):
        self.source = sys.stdin.fileno()
        self.saved = None
        self.sink = None

    @staticmethod
    def settings():
        size = shutil.get_terminal_size()
        return {"TERM": os.environ.get("TERM", "vt100"), "LAB_ROWS": size.lines, "LAB_COLUMNS": size.columns}

    def open(self, sink):
        self.sink = sink
        if os.isatty(self.source):
            self.saved = termios.tcgetattr(self.source)
            tty.setraw(self.source)

    def forward(self):
        """False at the end of the input, which the lab's shell then sees too."""
        typed = os.read(self.source, 4096)
        self.sink.sendall(typed or b"\x04")
        return bool(typed)

    def close(self):
        if self.saved:
            termios.tcsetattr(self.source, termios.TCSADRAIN, self.saved)
