"""Pushing: what goes, what may not, and what arrives at a server that speaks the hub's endpoints."""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner
from huggingface_hub import HfApi

from tulu_data import pushing
from tulu_data.card import front_matter
from tulu_data.cli import cli
from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.manifest import Input, Origin, Step
from tulu_data.rows import SPECS
from tulu_data.store import Store, Version
from tulu_data.tally import Tally
from tulu_data.verify import verify

REPO = "my-org/gsm"
REJECTS = pa.table({"place": ["a.jsonl:1"], "reason": ["empty"], "excerpt": ["a secret"]})


# ------------------------------------------------------------ a hub


class Commit(NamedTuple):
    oid: str
    message: str
    files: dict[str, bytes]


class Repo:
    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits = [Commit("0" * 40, "initial commit", {".gitattributes": b"*.parquet filter=lfs\n"})]
        self.tags: dict[str, str] = {}

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str) -> Commit | None:
        oid = {"main": self.head.oid, **self.tags}.get(revision, revision)
        return next((c for c in self.commits if c.oid == oid), None)

    def commit(self, message: str, files: dict[str, bytes]) -> Commit:
        oid = sha1(f"{message}{len(self.commits)}".encode()).hexdigest()
        self.commits.append(Commit(oid, message, files))
        return self.head


class Hub(ThreadingHTTPServer):
    """The endpoints of the Hugging Face hub that pushing, looking and loading use; `asked` is what came in."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.asked: list[tuple[str, str]] = []
        self.broken: str | None = None  # a path with this text is answered with an error
        self.yaml_errors: list[str] = []

    @property
    def changes(self) -> list[str]:
        """The paths of requests that change something."""
        reads = ("/api/validate-yaml", "/paths-info/", "/preupload/")
        return [path for method, path in self.asked if method == "POST" and not any(r in path for r in reads)]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, status: int, value: Any = None, *, error: str = "", headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value if value is not None else {}).encode()
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def route(self) -> tuple[str, str, bytes]:
        url = urlsplit(self.path)
        self.server.asked.append((self.command, url.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return url.path, url.query, body

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, query, _ = self.route()
        if self.server.broken and self.server.broken in path:
            return self.reply(503)
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self.info(found[1], unquote(found[2] or "main"))
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/refs", path):
            return self.refs(found[1])
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", path):
            return self.tree(found[1], unquote(found[2]), unquote(found[3]), "recursive" in parse_qs(query))
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(found[1], unquote(found[2]), unquote(found[3]))
        return self.reply(404)

    def do_POST(self) -> None:
        path, _, body = self.route()
        if self.server.broken and self.server.broken in path:
            return self.reply(503)
        if not self.headers.get("Authorization", "").startswith("Bearer hf_"):
            return self.reply(401)
        if path == "/api/validate-yaml":
            return self.validate(json.loads(body))
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            assert asked["type"] == "dataset"
            self.server.repos[name] = Repo(private=asked.get("visibility") == "private")
            return self.reply(200, {"url": f"{self.server.url}/datasets/{name}"})
        found = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(preupload|commit|tag|paths-info)/([^/]+)", path)
        repo = self.server.repos.get(found[1]) if found else None
        if found is None or repo is None:
            return self.reply(404, error="RepoNotFound")
        return getattr(self, found[2].replace("-", "_"))(repo, unquote(found[3]), body)

    def validate(self, asked: dict[str, Any]) -> None:
        front = yaml.safe_load(asked["content"].split("---\n")[1])
        assert asked["repoType"] == "dataset"
        assert front["pretty_name"]
        errors = [{"message": text} for text in self.server.yaml_errors]
        self.reply(400 if errors else 200, {"errors": errors, "warnings": []})

    def info(self, name: str, revision: str) -> None:
        repo = self.server.repos.get(name)
        if repo is None:
            return self.reply(404, error="RepoNotFound")
        commit = repo.at(revision)
        if commit is None:
            return self.reply(404, error="RevisionNotFound")
        siblings = [{"rfilename": path} for path in commit.files]
        facts = {"private": repo.private, "tags": [], "downloads": 0, "likes": 0, "disabled": False, "gated": False}
        return self.reply(200, {"id": name, "sha": commit.oid, "siblings": siblings, **facts})

    def refs(self, name: str) -> None:
        repo = self.server.repos[name]
        tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": oid} for t, oid in repo.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.oid}
        self.reply(200, {"branches": [main], "converts": [], "tags": tags})

    def entries(self, commit: Commit) -> list[dict[str, Any]]:
        files = [
            {"type": "file", "path": p, "size": len(c), "oid": git_oid(c)} for p, c in sorted(commit.files.items())
        ]
        folders = sorted({p.as_posix() for path in commit.files for p in Path(path).parents} - {"."})
        return [*files, *({"type": "directory", "path": p, "size": 0, "oid": "0" * 40} for p in folders)]

    def tree(self, name: str, revision: str, folder: str, recursive: bool) -> None:
        repo = self.server.repos.get(name)
        commit = repo.at(revision) if repo else None
        if commit is None:
            return self.reply(404, error="RevisionNotFound")
        inside = [e for e in self.entries(commit) if not folder or e["path"].startswith(f"{folder}/")]
        if not inside:
            return self.reply(404, error="EntryNotFound")
        depth = folder.count("/") + 1 if folder else 0
        return self.reply(200, [e for e in inside if recursive or e["path"].count("/") == depth])

    def paths_info(self, repo: Repo, revision: str, body: bytes) -> None:
        wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
        commit = repo.at(revision)
        assert commit is not None
        self.reply(200, [e for e in self.entries(commit) if e["path"] in wanted])

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo = self.server.repos.get(name)
        commit = repo.at(revision) if repo else None
        if commit is None:
            return self.reply(404, error="RepoNotFound")
        if path not in commit.files:
            return self.reply(404, error="EntryNotFound", headers={"X-Repo-Commit": commit.oid})
        content = commit.files[path]
        headers = {"ETag": f'"{git_oid(content)}"', "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            return self.reply(206, content[start : end + 1], headers=headers)
        return self.reply(200, content, headers=headers)

    def preupload(self, repo: Repo, revision: str, body: bytes) -> None:
        assert revision == "main"
        files = []
        for asked in json.loads(body)["files"]:
            held = repo.head.files.get(asked["path"])
            oid = {} if held is None else {"oid": git_oid(held)}
            files.append({"path": asked["path"], "uploadMode": "regular", "shouldIgnore": False, **oid})
        self.reply(200, {"files": files})

    def commit(self, repo: Repo, revision: str, body: bytes) -> None:
        header, *operations = [json.loads(line) for line in body.splitlines()]
        assert (revision, header["key"]) == ("main", "header")
        if header["value"].get("parentCommit", repo.head.oid) != repo.head.oid:
            return self.reply(412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(repo.head.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert operation["key"] == "deletedFile"
                del files[value["path"]]
        done = repo.commit(header["value"]["summary"], files)
        name = next(name for name, other in self.server.repos.items() if other is repo)
        url = f"{self.server.url}/datasets/{name}/commit/{done.oid}"
        return self.reply(200, {"commitUrl": url, "commitOid": done.oid})

    def tag(self, repo: Repo, revision: str, body: bytes) -> None:
        asked = json.loads(body)
        commit = repo.at(revision)
        assert commit is not None
        if asked["tag"] in repo.tags:
            return self.reply(409, {"error": "Tag exists"})
        repo.tags[asked["tag"]] = commit.oid
        return self.reply(200)


def git_oid(content: bytes) -> str:
    return sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))  # as it was read when it was imported
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token="hf_test")


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def as_sent(parcel):
    return {f.path: f.content.read_bytes() if isinstance(f.content, Path) else f.content for f in parcel.files}


@pytest.fixture
def gsm(store, make_version):
    return make_version(store, "gsm", ["a", "b", "größer 😀"], side={"rejects.parquet": REJECTS})


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------ the folder


def test_the_folder_holds_card_croissant_manifest_and_the_shards_as_they_are(tmp_path, gsm):
    folder = tmp_path / "out" / gsm.ref
    assert pushing.write_folder(pushing.pack(gsm).files, folder)
    held = contents(folder)
    assert sorted(held) == ["README.md", "croissant.json", "data/train-00000-of-00001.parquet", "manifest.json"]
    assert held["data/train-00000-of-00001.parquet"] == gsm.shards[0].read_bytes()
    opened = Store(tmp_path / "none").open(folder)
    assert (opened.ref, opened.table().equals(gsm.table())) == (gsm.ref, True)
    assert verify(opened, 2) == []


def test_what_was_left_out_goes_only_when_it_is_asked_for(tmp_path, gsm):
    assert b"a secret" not in b"".join(as_sent(pushing.pack(gsm)).values())
    folder = tmp_path / gsm.ref
    pushing.write_folder(pushing.pack(gsm, with_drops=True).files, folder)
    assert contents(folder)["rejects.parquet"] == (gsm.path / "rejects.parquet").read_bytes()
    opened = Store(tmp_path / "none").open(folder)
    assert verify(opened, 2) == []
    assert opened.manifest.files == gsm.manifest.files


@pytest.mark.parametrize("kind", SPECS)
def test_datasets_loads_the_folder_with_typed_features(tmp_path, store, make_version, kind):
    import datasets

    datasets.disable_progress_bars()
    version = make_version(store, "gsm", ["a", "b"], kind)
    pushing.write_folder(pushing.pack(version).files, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features == datasets.Features.from_arrow_schema(SPECS[kind].schema)
    assert loaded.to_list() == version.table().to_pylist()


def test_the_same_folder_again_is_there_already_and_any_other_stays_as_it_is(tmp_path, gsm):
    files = pushing.pack(gsm).files
    folder = tmp_path / "out"
    folder.mkdir()
    assert pushing.write_folder(files, folder)  # an empty folder is taken
    before = contents(folder)
    assert not pushing.write_folder(files, folder)
    changes = {
        "manifest.json": before["manifest.json"] + b" ",
        "stray.txt": b"",
        "data/train-00000-of-00001.parquet": b"x",
    }
    for path, content in changes.items():
        (folder / path).write_bytes(content)
        changed = contents(folder)
        with pytest.raises(StoreError, match=r"; give a folder that is new or empty") as caught:
            pushing.write_folder(files, folder)
        assert f"holds something else ({path})" in one_line(caught)
        assert contents(folder) == changed
        shutil.rmtree(folder)
        pushing.write_folder(files, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


def test_a_disk_that_fills_up_leaves_no_folder(tmp_path, gsm, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = pushing.pack(gsm).files
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StoreError, match=r"No space left on device.*-o"):
        pushing.write_folder(files, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        pushing.write_folder(files, tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "store"]


def test_a_folder_with_a_link_is_not_empty_and_stays_as_it_is(tmp_path, gsm):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for made in (folder, elsewhere):
        made.mkdir()
    (elsewhere / "mine.txt").write_text("mine")
    (folder / "data").symlink_to(elsewhere)
    with pytest.raises(StoreError, match=r"holds something else \(data\)"):
        pushing.write_folder(pushing.pack(gsm).files, folder)
    assert [p.name for p in folder.iterdir()] == ["data"]
    assert [p.name for p in elsewhere.iterdir()] == ["mine.txt"]


def test_a_folder_that_someone_else_makes_meanwhile_is_left_alone(tmp_path, gsm, monkeypatch):
    target, write = tmp_path / "out", pushing._write

    def write_and_lose(*args: Any) -> None:
        write(*args)
        target.mkdir(exist_ok=True)
        (target / "theirs.txt").write_text("theirs")

    monkeypatch.setattr(pushing, "_write", write_and_lose)
    with pytest.raises(StoreError, match="something else meanwhile") as caught:
        pushing.write_folder(pushing.pack(gsm).files, target)
    assert one_line(caught)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]
    assert [p.name for p in target.iterdir()] == ["theirs.txt"]


@pytest.mark.parametrize("shard", [True, False])
def test_a_version_without_rows_goes_and_its_card_says_so(tmp_path, store, make_version, shard):
    if shard:
        version = make_version(store, "none", [])
    else:
        with store.build("none", "sft") as build:
            version = build.publish([], Tally().logical())
    pushing.check_may_go(version)
    pushing.write_folder(pushing.pack(version).files, tmp_path / "out")
    assert "## Composition\n\nNo rows.\n" in (tmp_path / "out" / "README.md").read_text()
    assert verify(Store(tmp_path).open(tmp_path / "out"), 2) == []


def test_pages_go_along_and_a_folder_without_one_is_refused(tmp_path, gsm):
    (tmp_path / "pages" / "audit").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds no .html page"):
        pushing.pack(gsm, pages=tmp_path / "pages")
    (tmp_path / "pages" / "audit" / "index.html").write_text("<p>")
    (tmp_path / "pages" / "notes.txt").write_text("mine")
    assert as_sent(pushing.pack(gsm, pages=tmp_path / "pages"))["pages/audit/index.html"] == b"<p>"
    assert not [f for f in pushing.pack(gsm, pages=tmp_path / "pages").files if "notes" in f.path]


def test_the_places_on_this_machine_that_the_manifest_names_are_told(store, make_version):
    inputs = [
        Input(uri=uri, sha256="0", bytes=1, records=1, rows=1)
        for uri in ("/home/me/a.jsonl", "hub:org/name@abc#train", "data/b.jsonl")
    ]
    origin = Origin(recipe={}, root="/home/me", step="gsm")
    made = make_version(store, "gsm", ["a"], inputs=inputs, origin=origin)
    assert pushing.local_paths(made.manifest) == ["/home/me", "/home/me/a.jsonl"]
    step = Step(name="x", rows_in=1, rows_out=1, params={"a": [{"model": "/opt/model"}], "b": "/think", "c": "s/p/q"})
    changed = {
        "inputs": [],
        "steps": [step],
        "tokenizer": "/my tokens/t",
        "origin": Origin(
            recipe={"audit": {"encoder": "~/models/e"}, "description": "/a/b is a path in a text"}, root=".", step="gsm"
        ),
    }
    more = pushing.local_paths(made.manifest.model_copy(update=changed))
    assert more == ["/my tokens/t", "/opt/model", "~/models/e"]


# ------------------------------------------------------------ what may not go


def test_a_damaged_version_may_not_go(gsm):
    shard = gsm.shards[0]
    whole = shard.read_bytes()
    for damaged in (whole[:-1], whole[:100] + bytes([whole[100] ^ 1]) + whole[101:], None):
        shard.unlink() if damaged is None else shard.write_bytes(damaged)
        with pytest.raises(StoreError) as caught:
            pushing.check_may_go(gsm)
        assert str(shard) in one_line(caught)
    shard.write_bytes(whole)
    pushing.check_may_go(gsm)


@pytest.mark.parametrize("license_", [None, "my own"])
def test_licences_that_are_not_known_go_only_when_it_is_said(store, make_version, license_):
    made = make_version(store, "gsm", ["a"], license=license_)
    with pytest.raises(InputError, match=r"1 row of gsm state.*or give --allow-unknown-license") as caught:
        pushing.check_may_go(made)
    assert one_line(caught)
    pushing.check_may_go(made, allow_unknown=True)


def test_the_policy_of_the_recipe_on_record_holds_for_pushing_too(store, make_version):
    origin = Origin(recipe={"licenses": {"deny": ["CC-BY-NC-4.0"]}}, root=".", step="gsm")
    made = make_version(store, "gsm", ["a", "b"], license="cc-by-nc-4.0", origin=origin)
    with pytest.raises(InputError, match=r"2 rows of gsm are under cc-by-nc-4.0, which licenses.deny names") as caught:
        pushing.check_may_go(made, allow_unknown=True)
    assert one_line(caught)


NO_REPO = [
    "gsm",
    "a/b/c",
    "my org/gsm",
    "/gsm",
    "org/",
    "../x/y",
    "org/ñ",
    "../x",
    "org/..",
    "org/-x",
    "org/x.",
    "a/b.git",
]


@pytest.mark.parametrize("repo", [*NO_REPO, "org/a--b", "org/a..b", f"org/{'x' * 97}", "org/x\n"])
def test_a_name_that_is_not_org_and_name_is_refused(repo):
    with pytest.raises(UsageError, match="is not ORG/NAME"):
        pushing.check_repo(repo)


@pytest.mark.parametrize("repo", ["a/b", "my-org/my.mixture_2", "_o/_x_", f"org/{'x' * 96}"])
def test_a_name_that_the_hubs_library_takes_is_taken(repo):
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(repo)
    assert pushing.check_repo(repo) == repo


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "a/../../evil", "README.md", "manifest.json", "./x", "a//b"])
def test_a_manifest_from_elsewhere_writes_and_reads_only_in_its_own_folder(tmp_path, gsm, path):
    files = [gsm.manifest.files[0].model_copy(update={"path": path})]
    changed = Version(gsm.path, gsm.manifest.model_copy(update={"files": files}))
    with pytest.raises(StoreError, match="no place of its own") as caught:
        pushing.pack(changed, with_drops=True)
    assert path in one_line(caught)


def test_a_manifest_from_elsewhere_has_no_name_that_a_shell_would_obey(gsm):
    changed = gsm.manifest.model_copy(update={"name": "x; rm -rf ~\n```"})
    with pytest.raises(StoreError, match=r"manifest.json: dataset name") as caught:
        pushing.check_may_go(Version(gsm.path, changed))
    assert one_line(caught)


def test_a_policy_that_cannot_be_read_refuses(gsm):
    origin = Origin(recipe={"licenses": {"denny": ["mit"]}}, root=".", step="gsm")
    with pytest.raises(StoreError, match=r"origin.recipe.licenses: ") as caught:
        pushing.check_may_go(Version(gsm.path, gsm.manifest.model_copy(update={"origin": origin})))
    assert one_line(caught)


def test_names_from_data_keep_a_refusal_to_one_short_line(store, make_version, make_rows):
    rows = [r for i in range(9) for r in make_rows(f"s{i}\n\x1b[2J", [f"q{i}"], license="all\nrights " * 90)]
    with pytest.raises(InputError, match=r"9 rows of .* and 6 more state the licence") as caught:
        pushing.check_may_go(make_version(store, "gsm", rows))
    assert "\x1b" not in one_line(caught)
    assert len(one_line(caught)) < 400


def test_another_history_of_the_same_rows_goes_with_its_own_shards_and_licences(tmp_path, store, gsm, make_version):
    other = make_version(store, "gsm", ["a", "b", "größer 😀"], license="apache-2.0")
    assert (other.ref, other.build is None) == (gsm.ref, False)
    pushing.check_may_go(other)
    folder = tmp_path / "out"
    pushing.write_folder(pushing.pack(store.open("gsm")).files, folder)
    assert sorted(contents(folder)) == sorted(as_sent(pushing.pack(gsm)))
    opened = Store(tmp_path / "none").open(folder)
    assert set(opened.table()["license"].to_pylist()) == {"apache-2.0"}
    assert verify(opened, 2) == []
    assert "license: apache-2.0\n" in (folder / "README.md").read_text()


# ------------------------------------------------------------ the hub


def test_everything_arrives_in_one_commit_byte_for_byte_private_and_tagged(hub, api, gsm):
    parcel = pushing.pack(gsm, repo=REPO)
    done = pushing.push(parcel, REPO, api)
    repo = hub.repos[REPO]
    assert (done.new, done.commit, done.url) == (
        True,
        repo.head.oid,
        f"{hub.url}/datasets/{REPO}/tree/{gsm.manifest.version}",
    )
    assert repo.private
    assert [c.message for c in repo.commits] == ["initial commit", gsm.ref]
    assert repo.tags == {gsm.manifest.version: repo.head.oid}
    assert {p: c for p, c in repo.head.files.items() if p != ".gitattributes"} == as_sent(parcel)
    [shard] = gsm.manifest.shards
    assert sha256(repo.head.files[shard.path]).hexdigest() == shard.sha256


def test_a_dataset_is_public_only_when_it_is_said(hub, api, gsm):
    pushing.push(pushing.pack(gsm, repo=REPO), REPO, api, private=False)
    assert not hub.repos[REPO].private


def test_the_same_version_again_sends_nothing(hub, api, gsm):
    parcel = pushing.pack(gsm, repo=REPO)
    first = pushing.push(parcel, REPO, api)
    hub.asked.clear()
    again = pushing.push(parcel, REPO, api)
    assert again == first._replace(new=False)
    assert hub.changes == []


def test_a_push_that_was_cut_off_before_its_tag_goes_on_without_a_second_commit(hub, api, gsm):
    parcel = pushing.pack(gsm, repo=REPO)
    hub.broken = "/tag/"
    with pytest.raises(InputError, match="run the same command again") as caught:
        pushing.push(parcel, REPO, api)
    assert one_line(caught)
    assert hub.repos[REPO].tags == {}
    hub.broken = None
    done = pushing.push(parcel, REPO, api)
    assert len(hub.repos[REPO].commits) == 2
    assert hub.repos[REPO].tags == {gsm.manifest.version: done.commit}


def test_a_later_version_takes_the_place_of_the_earlier_whose_tag_keeps_it(hub, api, gsm, make_version, store):
    pushing.push(pushing.pack(gsm, repo=REPO, with_drops=True), REPO, api)
    later = make_version(store, "gsm", ["c", "d"])
    pushing.push(pushing.pack(later, repo=REPO), REPO, api)
    repo = hub.repos[REPO]
    assert {p: c for p, c in repo.head.files.items() if p != ".gitattributes"} == as_sent(
        pushing.pack(later, repo=REPO)
    )
    earlier = repo.at(gsm.manifest.version)
    assert earlier is not None
    assert earlier.files["data/train-00000-of-00001.parquet"] == gsm.shards[0].read_bytes()
    assert "rejects.parquet" in earlier.files


@pytest.mark.parametrize("held", ["README.md", "train.csv"])
def test_a_dataset_that_holds_something_else_stays_as_it_is(hub, api, gsm, held):
    hub.repos[REPO] = Repo(private=True)
    hub.repos[REPO].commit("mine", {".gitattributes": b"", held: b"mine"})
    with pytest.raises(InputError, match=rf"{REPO}: holds something else \({held}\); push to another name"):
        pushing.push(pushing.pack(gsm, repo=REPO), REPO, api)
    assert hub.changes == []


def test_another_dataset_or_another_history_under_the_name_stays_as_it_is(hub, api, gsm, make_version, store):
    pushing.push(pushing.pack(gsm, repo=REPO), REPO, api)
    other = make_version(store, "other", ["a"])
    relicensed = make_version(store, "gsm", ["a", "b", "größer 😀"], license="apache-2.0")
    assert relicensed.ref == gsm.ref
    hub.asked.clear()
    with pytest.raises(InputError, match=rf"holds {gsm.ref}, which is not a version of other; push to another name"):
        pushing.push(pushing.pack(other, repo=REPO), REPO, api)
    with pytest.raises(InputError, match="with another history or other side files") as caught:
        pushing.push(pushing.pack(relicensed, repo=REPO), REPO, api)
    assert one_line(caught)
    assert hub.changes == []


def test_ones_own_files_on_the_hub_stay_and_shards_that_would_be_loaded_go(
    hub, api, gsm, make_version, store, tmp_path
):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.html").write_text("<p>")
    pushing.push(pushing.pack(gsm, repo=REPO, with_drops=True, pages=tmp_path / "pages"), REPO, api)
    repo = hub.repos[REPO]
    own = {"LICENSE": b"mine", "figures/a.png": b"mine"}
    repo.commit("mine", repo.head.files | own | {"data/train-00009-of-00010.parquet": b"stray"})
    later = pushing.pack(make_version(store, "gsm", ["c"]), repo=REPO)
    pushing.push(later, REPO, api)
    assert {p: c for p, c in repo.head.files.items() if p != ".gitattributes"} == as_sent(later) | own


def test_pages_are_not_said_to_be_there_where_the_version_went_without(hub, api, gsm, tmp_path):
    pushing.push(pushing.pack(gsm, repo=REPO), REPO, api)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "a.html").write_text("<p>")
    hub.asked.clear()
    with pytest.raises(InputError, match=rf"has {gsm.manifest.version} without pages/a.html; remove its tag") as caught:
        pushing.push(pushing.pack(gsm, repo=REPO, pages=tmp_path / "pages"), REPO, api)
    assert one_line(caught)
    assert hub.changes == []


def test_a_manifest_on_the_hub_that_is_none_of_ours_is_told_by_its_dataset(hub, api, gsm):
    hub.repos[REPO] = Repo(private=True)
    hub.repos[REPO].commit("mine", {"manifest.json": b"{}"})
    with pytest.raises(InputError, match=rf"^{REPO}: its manifest.json is not that of a version \(format is None"):
        pushing.push(pushing.pack(gsm, repo=REPO), REPO, api)
    assert hub.changes == []


@pytest.mark.parametrize("token", ["hf_SECRET", "hf_ÄRET", "hf_SEC\nRET", "hf_SEC\0RET"])
def test_a_token_never_shows_in_a_message(hub, gsm, token, monkeypatch):
    def quotes(*_: Any) -> None:
        raise ValueError(f"Illegal header value {f'Bearer {token}'.encode()!r} for Bearer {token}")

    if token.isprintable():
        monkeypatch.setattr(pushing, "_look", quotes)
    with pytest.raises(InputError) as caught:
        pushing.push(pushing.pack(gsm, repo=REPO), REPO, HfApi(endpoint=hub.url, token=token))
    assert "RET" not in one_line(caught)
    assert "[token]" in one_line(caught)


def test_without_a_token_nothing_is_asked_of_the_hub(hub, gsm, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(InputError, match="no token for the hub; run hf auth login, or set HF_TOKEN"):
        pushing.push(pushing.pack(gsm, repo=REPO), REPO, HfApi(endpoint=hub.url))
    assert hub.asked == []


def test_whatever_the_hub_refuses_is_one_line(hub, api, gsm):
    parcel = pushing.pack(gsm, repo=REPO)
    hub.yaml_errors = ['"license" must be one of [apache-2.0]']
    with pytest.raises(InputError, match="refused, or cannot be reached") as caught:
        pushing.push(parcel, REPO, api)
    assert one_line(caught)
    assert '"license" must be one of' in one_line(caught)
    hub.yaml_errors, hub.broken = [], "/commit/"
    with pytest.raises(InputError, match="503") as caught:
        pushing.push(parcel, REPO, api)
    assert one_line(caught)
    with pytest.raises(InputError, match="refused, or cannot be reached") as caught:
        pushing.push(parcel, REPO, HfApi(endpoint=hub.url, token="another-kind"))
    assert one_line(caught)
    assert [len(r.commits) for r in hub.repos.values()] == [1]


def test_someone_elses_commit_in_between_is_not_written_over(hub, api, gsm, monkeypatch):
    hub.repos[REPO] = Repo(private=True)
    look = pushing._look

    def look_and_lose(*args):
        seen = look(*args)
        hub.repos[REPO].commit("theirs", {"theirs.txt": b"theirs"})
        return seen

    monkeypatch.setattr(pushing, "_look", look_and_lose)
    with pytest.raises(InputError, match="412"):
        pushing.push(pushing.pack(gsm, repo=REPO), REPO, api)
    assert hub.repos[REPO].head.files == {"theirs.txt": b"theirs"}


LOAD = """
import datasets, json, sys
datasets.disable_progress_bars()
rows = datasets.load_dataset(sys.argv[1], revision=sys.argv[2], split="train")
json.dump({"prompts": [r["messages"][0]["content"] for r in rows], "features": str(rows.features)}, sys.stdout)
"""


def test_the_tag_loads_from_the_hub_as_the_card_says_though_the_dataset_has_moved_on(
    hub, api, gsm, make_version, store, tmp_path
):
    import datasets

    pushing.push(pushing.pack(gsm, repo=REPO), REPO, api)
    pushing.push(pushing.pack(make_version(store, "gsm", ["c"]), repo=REPO), REPO, api)
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    for revision, prompts in ((gsm.manifest.version, ["a", "b", "größer 😀"]), ("main", ["c"])):
        done = subprocess.run(
            [sys.executable, "-c", LOAD, REPO, revision], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["prompts"] == prompts
        assert found["features"] == str(datasets.Features.from_arrow_schema(SPECS["sft"].schema))


# ------------------------------------------------------------ the command


def tulu(*args, **environment):
    return CliRunner().invoke(cli, ["push", *map(str, args)], env=environment)


def test_a_dry_run_lists_what_would_go_and_touches_nothing(hub, store, gsm, tmp_path):
    before = contents(tmp_path)
    result = tulu("gsm", REPO, "-o", tmp_path / "out", "--dry-run", "--store", store.root, "-q", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["to"] == [str(tmp_path / "out"), f"hub:{REPO}"]
    parcel = pushing.pack(gsm, repo=REPO)
    assert told["files"] == [{"path": p, "bytes": len(c)} for p, c in as_sent(parcel).items()]
    assert contents(tmp_path) == before
    assert hub.asked == []
    shown = tulu("gsm", REPO, "--dry-run", "--store", store.root, "-q").output
    assert f"4 files, {parcel.size:,} bytes, would go to hub:{REPO}" in shown


def test_without_a_place_the_command_asks_for_one(store, gsm):
    result = tulu("gsm", "--store", store.root)
    assert isinstance(result.exception, UsageError)
    assert "say where to" in str(result.exception)


@pytest.mark.parametrize("quiet", [[], ["-q"]], ids=["told", "quiet"])
def test_the_command_pushes_and_says_where_and_then_that_it_is_there(hub, store, gsm, tmp_path, quiet):
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_test", "HF_HOME": str(tmp_path / "home")}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", "from tulu_data.cli import main; main()", "push", "gsm", REPO, *quiet]
    for said in ("pushed to", "there already:"):
        done = subprocess.run(
            [*command, "-o", str(tmp_path / "out"), "--store", str(store.root)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"{said} {hub.url}/datasets/{REPO}/tree/{gsm.manifest.version}" in done.stdout
        assert f'load_dataset("{REPO}", revision="{gsm.manifest.version}")' in done.stdout
        assert not (quiet and done.stderr)
    sent = {p: c for p, c in hub.repos[REPO].head.files.items() if p != ".gitattributes"}
    assert sent == contents(tmp_path / "out")


@pytest.mark.parametrize("damage", ["token", "licence", "shard", "folder"])
def test_each_refusal_is_one_line_exit_1_and_nothing_is_asked_of_the_hub(
    hub, store, make_version, make_rows, tmp_path, damage
):
    made = make_version(store, "gsm", ["a"], license=None if damage == "licence" else "mit")
    if damage == "shard":
        made.shards[0].write_bytes(b"")
    out = tmp_path / "out"
    out.mkdir()
    if damage == "folder":
        (out / "mine.txt").write_text("mine")
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    environment |= {} if damage == "token" else {"HF_TOKEN": "hf_test"}
    command = [sys.executable, "-c", "from tulu_data.cli import main; main()", "push", "gsm", REPO, "-q"]
    done = subprocess.run(
        [*command, "-o", str(out), "--store", str(store.root)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert hub.asked == []


def test_the_card_that_goes_is_the_versions_own_with_the_place_to_load_it_from(gsm):
    text = as_sent(pushing.pack(gsm, repo=REPO))["README.md"].decode()
    assert yaml.safe_load(text.split("---\n")[1]) == front_matter(gsm.manifest)
    assert f'load_dataset("{REPO}", revision="{gsm.manifest.version}", split="train")' in text
