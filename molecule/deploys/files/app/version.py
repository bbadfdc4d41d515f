"""All that differs between two versions."""

VERSION = "1"
