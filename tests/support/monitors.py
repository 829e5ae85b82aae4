"""A pillar file with the monitors of one VM, and a VM without any."""

from __future__ import annotations

TWO_MONITORS = """
qubes:
  vms:
    work:
      monitors:
        - {width: 1920, height: 1080, x: 0, y: 0}
        - {width: 1280, height: 800, x: 1920, y: 0}
    plain: {}
"""
