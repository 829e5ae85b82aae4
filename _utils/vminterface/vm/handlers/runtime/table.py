"""The services that this VM answers: which module answers each, as which user, and whether it waits for the session."""

from __future__ import annotations


class Service:
    """One row. *module* is the file of ``vminterface.vm.handlers`` that has its ``handle(call)``."""

    __slots__ = ("as_root", "module", "name", "waits_for_session")

    def __init__(self, name: str, module: str, *, as_root: bool = False, waits_for_session: bool = False) -> None:
        self.name = name
        self.module = module
        #: Run as root whoever the caller asks for; else as the user that dom0 names, by default the VM's.
        self.as_root = as_root
        #: Started only when the user's session is up.
        self.waits_for_session = waits_for_session


_ROWS = (
    # Services that configure the VM.
    Service("qubes.SetMonitorLayout", "setmonitorlayout"),
    Service("qubes.WaitForSession", "waitforsession"),
    Service("qubes.WaitForRunningSystem", "waitforrunningsystem"),
    Service("qubes.WaitForNetworkUplink", "waitfornetworkuplink", as_root=True),
    Service("qubes.GetAppmenus", "getappmenus"),
    Service("qubes.GetImageRGBA", "getimagergba"),
    Service("qubes.SetDateTime", "setdatetime", as_root=True),
    Service("qubes.GetDate", "getdate"),
    Service("qubes.SetGuiMode", "setguimode"),
    Service("qubes.ResizeDisk", "resizedisk", as_root=True),
    Service("qubes.DetachPciDevice", "detachpcidevice", as_root=True),
    # Services that start something in the user's session.
    Service("qubes.StartApp", "startapp", waits_for_session=True),
    Service("qubes.OpenURL", "openurl", waits_for_session=True),
    Service("qubes.InstallUpdatesGUI", "installupdatesgui", waits_for_session=True),
    Service("qubes.ShowInTerminal", "showinterminal", waits_for_session=True),
    # Services that take or give files.
    Service("qubes.Filecopy", "filecopy"),
    Service("qubes.OpenInVM", "openinvm", waits_for_session=True),
    Service("qubes.SelectFile", "selectfile", waits_for_session=True),
    Service("qubes.SelectDirectory", "selectdirectory", waits_for_session=True),
    Service("qubes.Backup", "backup"),
    Service("qubes.Restore", "restore"),
    Service("qubes.RegisterBackupLocation", "registerbackuplocation"),
    Service("qubes.RestoreById", "restorebyid"),
    # Services for what happens to the whole machine.
    Service("qubes.SuspendPre", "suspendpre", as_root=True),
    Service("qubes.SuspendPost", "suspendpost", as_root=True),
    Service("qubes.SuspendPreAll", "suspendpreall", as_root=True),
    Service("qubes.SuspendPostAll", "suspendpostall", as_root=True),
    Service("qubes.SyncNtpClock", "syncntpclock", as_root=True),
    Service("qubes.PostInstall", "postinstall", as_root=True),
    # Services about templates, of the VM that downloads for dom0.
    Service("qubes.TemplateSearch", "templatesearch"),
    Service("qubes.TemplateDownload", "templatedownload"),
    # Services that lead to a port of this VM.
    Service("qubes.ConnectTCP", "connecttcp"),
    Service("qubes.UpdatesProxy", "updatesproxy"),
    # Services that run what the caller says.
    Service("qubes.VMShell", "vmshell"),
    Service("qubes.VMShell+WaitForSession", "vmshell", waits_for_session=True),
    Service("qubes.VMRootShell", "vmshell", as_root=True),
    Service("qubes.VMExec", "vmexec"),
    Service("qubes.VMExecGUI", "vmexec", waits_for_session=True),
    Service("qubes.VMRootExec", "vmexec", as_root=True),
)

#: The rows by the service's name.
SERVICES = {row.name: row for row in _ROWS}
