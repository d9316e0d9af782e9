"""The notifier's fan-out beside a bare one."""
