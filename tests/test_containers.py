"""The Dockerfile and compose.yaml: what goes in, and the very steps without a container engine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dermhub.images.drawn_lesions import draw
from tests.support.demo_process import READY, free_port
from tests.test_replicas import NGINX

ROOT = Path(__file__).resolve().parents[1]

HOME = "/opt/dermhub"
"""The folder of the program in the image."""


def steps() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with what follows them, in their order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line]


def variables() -> dict[str, str]:
    """The variables that the Dockerfile sets."""
    words = [word for name, rest in steps() if name == "ENV" for word in shlex.split(rest)]
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def let_through() -> set[str]:
    """The files of the repository that .dockerignore lets through; the last match decides."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]

    def matches(pattern: str, name: str) -> bool:
        expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        # A pattern that matches a folder matches what is in it.
        return re.fullmatch(f"{expression}(/.*)?", name) is not None

    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    kept = set()
    for name in done.stdout.splitlines():
        ignored = False
        for pattern in patterns:
            if matches(pattern.removeprefix("!"), name):
                ignored = not pattern.startswith("!")
        if not ignored and (ROOT / name).is_file():
            kept.add(name)
    return kept


def test_the_image_holds_the_demo_and_two_models() -> None:
    kept = let_through()
    assert {name.split("/")[0] for name in kept} == {
        *("LICENSE", "app.py", "demo", "dermhub", "model_cards", "requirements-demo.txt"),
    }
    models = {tuple(name.split("/")[1:3]) for name in kept if name.startswith("model_cards/")}
    assert {model for model, _ in models} == {"binary", "lesion"}
    assert ("lesion", "model.onnx") in models
    assert not [name for name in kept if name.endswith(".csv") and "model_cards" in name]
    assert {"dermhub/data/partition.csv", "demo/page/style.css"} <= kept
    copied = [rest.split()[0] for name, rest in steps() if name == "COPY"]
    assert copied == ["requirements-demo.txt", "."]


def test_the_image_has_a_user_of_its_own_and_a_check_of_its_health() -> None:
    instructions = dict(steps())
    user, group = instructions["USER"].split(":")
    assert int(user) >= 1000 <= int(group)
    assert "/healthz" in instructions["HEALTHCHECK"]
    assert instructions["EXPOSE"] == variables()["GRADIO_SERVER_PORT"] == "7860"
    # What the tests run is what the image runs.
    python = re.search(r'python_version: "([\d.]+)"', (ROOT / "README.md").read_text())
    assert python is not None
    assert instructions["FROM"] == f"python:{python[1]}-slim"


def compose() -> dict[str, Any]:
    """The content of compose.yaml."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return content


def test_every_container_is_confined() -> None:
    services = compose()["services"]
    assert set(services) == {"nginx", "first", "second"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "/tmp:mode=1777" in service["tmpfs"]
    assert services["nginx"]["ports"] == ["127.0.0.1:7860:7860"]
    (volume,) = services["nginx"]["volumes"]
    assert (ROOT / volume.split(":")[0]).is_file()


def test_the_replicas_listen_where_nginx_asks() -> None:
    services = compose()["services"]
    text = (ROOT / "deploy/replicas/nginx.conf").read_text(encoding="utf-8")
    asked = re.findall(r"^ *server ([\d.]+):(\d+) ", text, re.MULTILINE)
    replicas = [services[name]["environment"] for name in ("first", "second")]
    assert asked == [(each["GRADIO_SERVER_NAME"], each["GRADIO_SERVER_PORT"]) for each in replicas]
    assert {services[name]["network_mode"] for name in ("first", "second")} == {"service:nginx"}


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_takes_what_its_container_makes_of_the_configuration(tmp_path: Path) -> None:
    script = compose()["services"]["nginx"]["command"][2]
    for old, new in (
        ("/etc/dermhub/nginx.conf", str(ROOT / "deploy/replicas/nginx.conf")),
        ("/run/nginx.conf", str(tmp_path / "nginx.conf")),
        # Only checked; and where a test has no right to write, in a folder of its own.
        ("exec nginx -e stderr", f"sed -i 's|/run/|{tmp_path}/|' {tmp_path}/nginx.conf\nnginx -t"),
    ):
        assert old in script
        script = script.replace(old, new)
    path = f"{Path(str(NGINX)).parent}:{os.environ['PATH']}"
    subprocess.run(["sh", "-ec", script], check=True, env={"PATH": path})
    made = (tmp_path / "nginx.conf").read_text()
    assert "listen 7860;" in made
    gateway = compose()["networks"]["default"]["ipam"]["config"][0]["gateway"]
    assert f"set_real_ip_from {gateway};" in made


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A folder in place of the image: its /opt/dermhub, and a Python of its own in `venv`."""
    if not may_confine():
        pytest.skip("this process may make no mounts of its own (it needs root and util-linux)")
    python = python_for_all()
    if python is None:
        pytest.skip("there is no Python 3.11 or newer here that other users may run")
    # Not in /tmp, which is mounted anew below; and open to other users, which pytest's is not.
    place = Path(tempfile.mkdtemp(prefix="dermhub-image-", dir="/var/tmp"))
    place.chmod(0o755)
    try:
        subprocess.run([python, "-m", "venv", place / "venv"], check=True)
        build(place)
        yield place
    finally:
        shutil.rmtree(place)


def build(image: Path) -> None:
    """Run the steps of the Dockerfile, up to CMD, in a folder; skips without a package index."""
    inside = image / HOME.removeprefix("/")
    environment = {"PATH": f"{image / 'venv/bin'}:{os.environ['PATH']}", "HOME": str(image)}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    for name, rest in steps():
        if name == "WORKDIR":
            assert rest == HOME
            inside.mkdir(parents=True)
        elif name == "COPY":
            source = rest.split()[0]
            for file in let_through() if source == "." else [source]:
                (inside / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, inside / file)
        elif name == "RUN":
            done = subprocess.run(
                ["sh", "-c", rest], cwd=inside, env=environment, capture_output=True, text=True
            )
            if re.search("No matching distribution|connection", done.stderr, re.I):
                pytest.skip(f"the package index can't be reached: {done.stderr[-300:]}")
            assert done.returncode == 0, done.stderr
            print(done.stdout)


def without_rights() -> list[str]:
    """The words before a command that give it the image's user, and no rights of another."""
    (user,) = (rest for name, rest in steps() if name == "USER")
    uid, gid = user.split(":")
    words = ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups"]
    return [*words, "--no-new-privs", "--bounding-set=-all"]


def python_for_all() -> str | None:
    """A Python that every user may run: that of the tests may lie in root's home."""
    new_enough = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    for name in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        python = Path(name).resolve()
        if not python.exists() or not all(part.stat().st_mode & 1 for part in python.parents):
            continue
        if subprocess.run([python, "-c", new_enough], capture_output=True).returncode == 0:
            return str(python)
    return None


def confined(image: Path) -> list[str]:
    """The words before a command that confine it as the container is.

    It has a user without an account and without rights, a read-only file system but for /tmp, and
    64 MB of shared memory.
    """
    mounts = (
        f"mount --bind {image} {image} && mount -o remount,bind,ro {image} && "
        "mount -t tmpfs -o size=512m,mode=1777 tmpfs /tmp && "
        "mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm && "
        f'cd {image}{HOME} && exec "$@"'
    )
    return ["unshare", "--mount", "sh", "-c", mounts, "sh", *without_rights()]


def may_confine() -> bool:
    """True where this process may make mounts of its own."""
    with contextlib.suppress(OSError):
        mount = "mount -t tmpfs tmpfs /tmp && setpriv --version"
        command = ["unshare", "--mount", "sh", "-c", mount]
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


@pytest.mark.slow
def test_the_steps_build_what_serves_a_user_without_an_account(
    image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    environment = variables() | {
        "PATH": f"{image / 'venv/bin'}:{os.defpath}",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
    }
    # It must not be needed: a user whom `docker run --user` names has none.
    del environment["HOME"]
    instructions = dict(steps())
    command = json.loads(instructions["CMD"])
    check = json.loads(re.sub(r"^(--\S+ )*CMD ", "", instructions["HEALTHCHECK"]))
    process = subprocess.Popen([*confined(image), *command], env=environment)
    try:
        began = time.monotonic()
        while subprocess.run(check, env=environment, capture_output=True).returncode:
            assert process.poll() is None, capfd.readouterr()
            assert time.monotonic() - began < READY, capfd.readouterr()
            time.sleep(0.3)
        url = f"http://127.0.0.1:{port}"
        assert ask(image, url) == {"label", "zone"}
    finally:
        process.terminate()
        assert process.wait(60) == 0
    # Nothing is left in the image.
    assert not list(image.glob("**/.gradio"))
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)


ASK = """
import sys
from gradio_client import Client, handle_file
answer = Client(sys.argv[1], verbose=False).predict(handle_file(sys.argv[2]), api_name="/predict")
print(*sorted({"label", "zone"} & answer.keys()))
"""


def ask(image: Path, url: str) -> set[str]:
    """Upload a drawing with the client of the image; returns the fields of the answer."""
    draw(3, (600, 450), 0.8).save(image / "photo.png")
    command = [str(image / "venv/bin/python"), "-c", ASK, url, str(image / "photo.png")]
    environment = {"PATH": os.defpath, "HOME": str(image)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
