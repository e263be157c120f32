"""A nested-KVM host under software emulation: see tests/nested/README.md."""
