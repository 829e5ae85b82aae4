{#- In dom0: the keyboard layout of every running VM. Nothing else of the pillar is pushed. -#}
vminterface-keyboard:
  qubes_vm.all_configured:
    - only: [keyboard, keymap]
