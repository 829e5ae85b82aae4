# dom0 alone: what one VM is told is none of another VM's business.
base:
  'dom0*':
    - qubes
