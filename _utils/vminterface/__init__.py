"""What a Xen or Qubes dom0 tells its VMs, what they tell it, and how it checks that they listened.

The package imports nothing of itself here: Salt's own loader looks at this file when the package is
synced as ``_utils/vminterface`` and stumbles, silently, over imports of the package under another name.
"""

__version__ = "0.1.0"
