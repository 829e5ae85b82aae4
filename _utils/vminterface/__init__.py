"""Settings from a Xen or Qubes dom0 to its VMs, reports back, and the checks that VMs applied them.

Under another name the package imports nothing of itself here: Salt's own loader reads this file when the package is
synced as ``_utils/vminterface`` and stumbles, silently, over such imports.
"""

__version__ = "0.1.0"

if __name__ == "vminterface" and "/extmods/" in __file__:
    from vminterface import bytecode

    bytecode.keep(__path__[0])
