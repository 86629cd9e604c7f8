"""JupyterHub for one class on one Linux machine, whose users are students and teacher.

    sudo .venv/bin/jupyterhub --config tools/classroom/jupyterhub_config.py

book/teaching.md says how. It listens on this machine only, at http://127.0.0.1:8000: put a web
server with a certificate before it.
"""

import sys
from pathlib import Path

c = get_config()  # noqa: F821  (JupyterHub provides it)

programs = Path(sys.executable).parent
state = Path("/srv/jupyterhub")  # who is logged in; cookies' secret
state.mkdir(mode=0o700, exist_ok=True)

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.db_url = f"sqlite:///{state / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(state / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(state / "proxy.pid")

# The users of the machine log in with their passwords, when they belong to this group.
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {"class"}

# Everybody gets JupyterLab as themselves, in their home folder. It ends after an hour without use.
c.Spawner.cmd = [str(programs / "jupyterhub-singleuser")]
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = 120  # seconds; when the lesson begins, all of them start at once
c.Spawner.args = [
    "--ServerApp.shutdown_no_activity_timeout=3600",
    "--MappingKernelManager.cull_idle_timeout=3600",
]
c.Spawner.environment = {
    "OMP_NUM_THREADS": "1",
    "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
    "JUPYTER_CONFIG_PATH": lambda spawner: settings_of(spawner.user.name),
}

# Students do not see the Formgrader in the menu. A teacher's finds the class, and may open inside
# JupyterLab.
teachers = {"teacher"}
settings = Path(__file__).with_name("hub")


def settings_of(name):
    """Where a user's server looks for settings first."""
    if name not in teachers:
        return str(settings / "student")
    return f"{Path(f'~{name}/class').expanduser()}:{settings / 'teacher'}"
