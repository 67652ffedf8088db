"""Triton's interpreter is chosen for a whole process: tests of it are collected only in one that has chosen it."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]
