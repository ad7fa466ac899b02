"""
The package store's own program: Python of the base image, standard library only, started inside a store container
with one JSON request on stdin and one JSON answer on stdout. It runs where the files are, so that hardlinks, locks and
renames are the file system's own. Requests: `realise`, `index`, `probe`, `prefetch`.

Invariants: `envs/<key>` exists with its marker `envs/<key>.json` only when it is whole; every change happens under
one `flock`, which the kernel frees when the container dies; what a dead attempt left is under a `.tmp-` or `.linking-`
name and goes with the next attempt; files are only ever added or deleted, never written in place, since they are shared.
"""
import csv, fcntl, functools, hashlib, json, os, re, shutil, subprocess, sys, time, uuid

request = json.load(sys.stdin)
ROOT = request.get("root", "/store")
RULES = request.get("rules", {})
CACHE, FULL = ROOT + "/cache", ROOT + "/cache-full"

STEPS = {}

def timed(function):
    """Adds up milliseconds by step: the answer says where the time went."""
    @functools.wraps(function)
    def wrapper(*arguments):
        started = time.monotonic()
        try:
            return function(*arguments)
        finally:
            STEPS[function.__name__] = round(STEPS.get(function.__name__, 0) + (time.monotonic() - started) * 1000)
    return wrapper

def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()

def read_json(path):
    try:
        with open(path) as handle:
            return json.load(handle)
    except (OSError, ValueError):
        return None

def write_json(path, value):
    temporary = path + "." + uuid.uuid4().hex[:8] + ".tmp"
    try:
        with open(temporary, "w") as handle:
            json.dump(value, handle, sort_keys=True)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)  # a full disk is not filled further
        raise

def walk_files(top):
    for folder, _, names in os.walk(top):
        for name in names:
            yield os.path.join(folder, name)

def run(command, **options):
    """Runs a program to its end. One that was killed says nothing about the packages: that ends ours, too."""
    done = subprocess.run(command, cwd="/tmp", capture_output=True, text=True, errors="replace", **options)
    if done.returncode < 0:
        sys.exit(command[0] + " was ended by signal " + str(-done.returncode))
    return done

# ---- installing -------------------------------------------------------------------------------------------------

@timed
def install(target, cache, lock_file, offline):
    command = ["uv", "pip", "install", "--target", target, "--python", "python3", "--no-deps", "--require-hashes",
               "--link-mode", "hardlink", "--no-progress", "--quiet", "-r", lock_file]
    if offline:
        command.append("--offline")
    # Source archives of the past need pkg_resources, which later setuptools lack.
    constraints = lock_file + ".build"
    with open(constraints, "w") as handle:
        handle.write("setuptools<81\n")
    command += ["--build-constraints", constraints]
    environment = dict(os.environ, UV_CACHE_DIR=cache, UV_PYTHON_DOWNLOADS="never")
    done = run(command, env=environment)
    return done.returncode == 0, (done.stdout + done.stderr)[-6000:]

# ---- pruning: delete-only, once per archive ---------------------------------------------------------------------

def distribution_of(archive):
    try:
        names = os.listdir(archive)
    except OSError:
        return None
    for name in names:
        match = re.fullmatch(r"(.+?)-([^-]+)\.dist-info", name)
        if match:
            return normal(match.group(1)), match.group(2)
    return None

def is_test_folder(folder):
    for path in walk_files(folder):
        if re.fullmatch(r"test_.*\.py|.*_test\.py|.*_tests\.py|tests?\.py", os.path.basename(path)):
            return True
    return False

def imports_folder(archive, relative):
    """Does a module outside the folder name it? Then it is more than tests."""
    parts = relative.split(os.sep)
    leaf = parts[-1]
    dotted = re.escape(".".join(parts))
    # "from pkg.tests", "import pkg.tests", "pkg.tests." and, from inside the same package, "from .tests", "from . import tests"
    absolute = re.compile(r"\b" + dotted + r"\b")
    near = re.compile(r"^\s*from\s+\.+(?:\w+\.)*" + leaf + r"\b|^\s*from\s+\.+\s+import\s+[^\n]*\b" + leaf + r"\b", re.M)
    inside = os.path.join(archive, relative) + os.sep
    for path in walk_files(archive):
        if not path.endswith(".py") or path.startswith(inside) or re.search(r"[\\/]tests?[\\/]", path):
            continue
        with open(path, encoding="utf-8", errors="replace") as handle:
            text = handle.read()
        if absolute.search(text) or near.search(text):
            return True
    return False

def doomed_folders(archive):
    for folder, names, _ in os.walk(archive):
        relative = os.path.relpath(folder, archive)
        for name in list(names):
            path = os.path.join(folder, name)
            inner = name if relative == "." else os.path.join(relative, name)
            if name in RULES["folders"]:
                doomed = True
            elif relative == ".":
                doomed = name in RULES["topLevelFolders"]
            else:
                doomed = name in RULES["testFolders"] and is_test_folder(path) and not imports_folder(archive, inner)
            if doomed:
                names.remove(name)
                yield path

def prune_archive(archive):
    """May die half-way: an archive that the ledger does not name is pruned again."""
    full = sum(os.lstat(path).st_size for path in walk_files(archive))
    removed = files = 0
    doomed = list(doomed_folders(archive))
    for folder in doomed:
        for path in walk_files(folder):
            removed += os.lstat(path).st_size
            files += 1
        shutil.rmtree(folder)
    for path in list(walk_files(archive)):
        if path.endswith(tuple(RULES["suffixes"])):
            removed += os.lstat(path).st_size
            files += 1
            os.unlink(path)
    return {"fullBytes": full, "removedBytes": removed, "removedFiles": files}

def drop_archive(path):
    """In one step: half an archive would be installed as if it were whole."""
    gone = os.path.dirname(os.path.dirname(path)) + "/.linking-gone-" + uuid.uuid4().hex
    os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)  # what stays goes with the next attempt

def treatment(name):
    return "kept" if name in RULES["exceptions"] else RULES["version"]

@timed
def prune_cache(wanted):
    """Prunes archives that are new; drops those of wanted packages that were pruned by other rules."""
    archives = CACHE + "/archive-v0"
    ledger_file = ROOT + "/pruned.json"
    ledger = read_json(ledger_file) or {}
    present = set(os.listdir(archives)) if os.path.isdir(archives) else set()
    changed = False
    for identity in sorted(set(ledger) - present):
        del ledger[identity]
        changed = True
    for identity in sorted(present):
        path = os.path.join(archives, identity)
        entry = ledger.get(identity)
        if entry is None:
            name, version = distribution_of(path) or ("", "")
            rule = treatment(name)
            counts = {"fullBytes": sum(os.lstat(f).st_size for f in walk_files(path)), "removedBytes": 0, "removedFiles": 0} \
                if rule == "kept" else prune_archive(path)
            ledger[identity] = dict(counts, name=name, version=version, rule=rule)
            changed = True
        elif wanted.get(entry["name"]) == entry["version"] and entry["rule"] != treatment(entry["name"]):
            drop_archive(path)
            del ledger[identity]
            changed = True
    if changed:
        write_json(ledger_file, ledger)
    return ledger

# ---- filling the pruned cache from the full one: the same inodes, so nothing is stored twice -----------------------

def link_tree(source, target):
    if os.path.islink(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            os.unlink(target)
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        for name in os.listdir(source):
            link_tree(os.path.join(source, name), os.path.join(target, name))
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.lexists(target):
            if os.path.samefile(source, target):
                return
            os.unlink(target)
        os.link(source, target)

@timed
def link_from_full(wanted):
    os.makedirs(CACHE, exist_ok=True)
    for bucket in os.listdir(FULL):
        top = os.path.join(FULL, bucket)
        if bucket == "archive-v0":
            for identity in os.listdir(top):
                found = distribution_of(os.path.join(top, identity))
                target = os.path.join(CACHE, bucket, identity)
                if found and wanted.get(found[0]) == found[1] and not os.path.isdir(target):
                    temporary = CACHE + "/.linking-" + identity
                    shutil.rmtree(temporary, ignore_errors=True)
                    link_tree(os.path.join(top, identity), temporary)
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.rename(temporary, target)
        elif bucket.startswith(("simple-", "wheels-", "sdists-")):
            for folder, folders, names in os.walk(top):
                for name in list(folders) + names:
                    if normal(name[:-5] if name.endswith(".rkyv") else name) in wanted:
                        path = os.path.join(folder, name)
                        link_tree(path, os.path.join(CACHE, os.path.relpath(path, FULL)))
                        if name in folders:
                            folders.remove(name)

def fill(kind, target, lock_file, wanted):
    """Installs into target; returns (ok, text, where the files came from)."""
    if kind == "full":
        ok, text = install(target, FULL, lock_file, True)
        if ok:
            return ok, text, "cache"
        shutil.rmtree(target, ignore_errors=True)
        ok, text = install(target, FULL, lock_file, False) if request["network"] else (False, text)
        return ok, text, "network"
    prune_cache(wanted)
    ok, text = install(target, CACHE, lock_file, True)
    if ok:
        return ok, text, "cache"
    shutil.rmtree(target, ignore_errors=True)
    ok, text, origin = fill("full", target, lock_file, wanted)
    shutil.rmtree(target, ignore_errors=True)
    if not ok:
        return ok, text, origin
    link_from_full(wanted)
    prune_cache(wanted)
    ok, text = install(target, CACHE, lock_file, True)
    if not ok and request["network"]:
        # The layout of the installer's cache changed under us: fill the pruned cache by its own means.
        shutil.rmtree(target, ignore_errors=True)
        ok, text = install(target, CACHE, lock_file, False)
        shutil.rmtree(target, ignore_errors=True)
        if ok:
            prune_cache(wanted)
            ok, text = install(target, CACHE, lock_file, True)
    return ok, text, origin

# ---- is it whole? -------------------------------------------------------------------------------------------------

def may_be_pruned(path):
    *folders, name = path.split("/")
    return (name.endswith(tuple(RULES["suffixes"])) or any(folder in RULES["folders"] for folder in folders)
            or folders[:1] != [] and folders[0] in RULES["topLevelFolders"]
            or any(folder in RULES["testFolders"] for folder in folders[1:]))

@timed
def stumps(top, kind):
    """Distributions with files that their RECORD lists and that are not there in full, but for what pruning takes by rule."""
    listed = {}  # by path: several may bring one file, and the last of them wins
    for info in os.listdir(top):
        match = re.fullmatch(r"(.+?)-([^-]+)\.dist-info", info)
        if not match:
            continue
        owner = normal(match.group(1)), match.group(2)
        tolerant = kind == "pruned" and treatment(owner[0]) != "kept"
        with open(os.path.join(top, info, "RECORD"), newline="", encoding="utf-8", errors="surrogateescape") as handle:
            for row in csv.reader(handle):
                if row and not (tolerant and may_be_pruned(row[0])):
                    owners, sizes = listed.setdefault(row[0], ([], set()))
                    owners.append(owner)
                    sizes.add(row[2] if len(row) > 2 else "")
    found = {}
    for path, (owners, sizes) in sorted(listed.items()):
        if not is_there(os.path.join(top, path), sizes):
            for owner in owners:
                found[owner] = found.get(owner, ()) + (path,)
    return found

def is_there(path, sizes):
    try:
        return str(os.lstat(path).st_size) in sizes or "" in sizes
    except FileNotFoundError:
        return False

def drop_distributions(broken):
    locks = [open(path, "a+") for path in (ROOT + "/.resolve.lock", CACHE + "/.lock", FULL + "/.lock")]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)  # resolutions and builds of others take from these caches
    for archives in (CACHE + "/archive-v0", FULL + "/archive-v0"):
        for identity in os.listdir(archives) if os.path.isdir(archives) else []:
            if distribution_of(archives + "/" + identity) in broken:
                drop_archive(archives + "/" + identity)
    for lock in locks:
        lock.close()

def fill_whole(kind, target, lock_file, wanted):
    """Like fill, but what is installed is whole: archives that proved to be stumps are fetched again."""
    ok, text, origin = fill(kind, target, lock_file, wanted)
    broken = stumps(target, kind) if ok and wanted else {}
    if broken:
        drop_distributions(broken)
        shutil.rmtree(target, ignore_errors=True)
        ok, text, origin = fill(kind, target, lock_file, wanted)
        # what a fresh copy lacks as well, its RECORD lists by mistake
        still = stumps(target, kind) if ok else {}
        if not still.items() <= broken.items():
            sys.exit("Fresh copies are not whole: " + str(still)[:1000])
    return ok, text, origin

# ---- describing an environment ------------------------------------------------------------------------------------

@timed
def index_of(top):
    """Path, size and git blob id of each Python file, and every top-level name."""
    files = []
    for path in sorted(walk_files(top)):
        if path.endswith(".py") and not os.path.islink(path):
            with open(path, "rb") as handle:
                content = handle.read()
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            files.append([os.path.relpath(path, top), len(content), oid])
    return {"files": files, "top": sorted(os.listdir(top))}

def installed_names(top):
    found = (re.fullmatch(r"(.+?)-[^-]+\.(?:dist|egg)-info", name) for name in os.listdir(top))
    return {normal(match.group(1)) for match in found if match}

OWN = re.compile(r"\.dist-info/(?:RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json|uv_build\.json)$|^bin/")

@timed
def describe(top):
    size = files = copied = 0
    for path in walk_files(top):
        status = os.lstat(path)
        files += 1
        size += status.st_size
        if status.st_nlink == 1 and status.st_size > 0 and not OWN.search(os.path.relpath(path, top)):
            copied += 1
    return {"bytes": size, "files": files, "copiedFiles": copied}

def realise():
    kind = request["variant"]
    envs = ROOT + ("/envs" if kind == "pruned" else "/envs-full")
    final = envs + "/" + request["key"]
    marker = final + ".json"
    os.makedirs(ROOT + "/locks", exist_ok=True)
    def finished():
        with open(ROOT + "/locks/sweep.lock", "a+") as sweep:
            fcntl.flock(sweep, fcntl.LOCK_SH)  # gc sees it as young, or took it before
            found = read_json(marker)
            if not found or not os.path.isdir(final):
                return None
            os.utime(marker)
            return dict(found, status="ok", served=True)
    found = finished()
    if found:
        return found
    with open(ROOT + "/locks/fill.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = finished()
        if found:
            return found
        for folder in (CACHE, FULL, envs):
            os.makedirs(folder, exist_ok=True)
        for name in os.listdir(envs):
            if name.startswith(".tmp-"):
                shutil.rmtree(os.path.join(envs, name), ignore_errors=True)
        for cache in (CACHE, FULL):
            for name in os.listdir(cache):
                if name.startswith(".linking-"):
                    shutil.rmtree(os.path.join(cache, name), ignore_errors=True)
        temporary = envs + "/.tmp-" + request["key"][:16] + "-" + uuid.uuid4().hex[:8]
        if os.path.isdir(final):  # no marker: whoever made it died before it was whole
            os.rename(final, temporary + "-old")
            shutil.rmtree(temporary + "-old", ignore_errors=True)
        lock_file = write_lock()
        wanted = {normal(name): version for name, version in request["pins"].items()}
        ok, text, origin = fill_whole(kind, temporary, lock_file, wanted)
        os.makedirs(temporary, exist_ok=True)  # an empty lock makes no folder
        lacking = sorted(set(wanted) - installed_names(temporary)) if ok else []
        if not ok or lacking:
            shutil.rmtree(temporary, ignore_errors=True)
            return {"status": "failed", "output": text if not ok else "The installer left out " + ", ".join(lacking)}
        for name in (".lock", "CACHEDIR.TAG"):
            if os.path.exists(os.path.join(temporary, name)):
                os.unlink(os.path.join(temporary, name))
        metadata = describe(temporary)
        metadata["removedBytes"] = 0
        if kind == "pruned":
            for entry in (read_json(ROOT + "/pruned.json") or {}).values():
                if wanted.get(entry["name"]) == entry["version"]:
                    metadata["removedBytes"] += entry["removedBytes"]
        metadata["origin"] = origin
        index = index_of(temporary)
        write_json(final + ".index.json", index)
        os.chmod(temporary, 0o755)
        os.rename(temporary, final)
        os.sync()  # no marker on the disk before the files that it vouches for
        write_json(marker, metadata)
        return dict(metadata, status="ok", served=False, index=index, steps=STEPS)

def write_lock():
    lock_file = "/tmp/" + uuid.uuid4().hex + ".txt"
    with open(lock_file, "w") as handle:
        handle.write(request["lock"])
    return lock_file

def prefetch():
    """Downloads and builds a lock into the working cache: the proof that it can be installed."""
    target = "/tmp/prefetch-" + uuid.uuid4().hex
    ok, text = install(target, FULL, write_lock(), False)
    shutil.rmtree(target, ignore_errors=True)
    return {"status": "ok"} if ok else {"status": "failed", "output": text}

def index():
    return read_json(ROOT + "/envs/" + request["key"] + ".index.json") or read_json(ROOT + "/envs-full/" + request["key"] + ".index.json")

def probe():
    """Installs one package into a scratch folder and lists its files: does it carry a copy of somebody else?"""
    target = "/tmp/probe-" + uuid.uuid4().hex
    environment = dict(os.environ, UV_CACHE_DIR=FULL, UV_PYTHON_DOWNLOADS="never", UV_LINK_MODE="copy")
    done = run(["uv", "pip", "install", "--quiet", "--no-deps", "--target", target, "--python", "python3", request["requirement"]],
               env=environment)
    if done.returncode != 0:
        return {"status": "failed", "output": (done.stdout + done.stderr)[-6000:]}
    module = request.get("module")
    if module:
        # It must still import on this Python and know editable installs, or the project cannot be installed with it.
        check = "import sys, importlib; sys.path.insert(0, sys.argv[1]); importlib.import_module(sys.argv[2]).build_editable"
        done = run(["python3", "-c", check, target, module])
        if done.returncode != 0:
            return {"status": "failed", "output": done.stderr[-2000:]}
    return {"status": "ok", "paths": [os.path.relpath(path, target) for path in sorted(walk_files(target))]}

json.dump({"realise": realise, "index": index, "probe": probe, "prefetch": prefetch}[request["command"]](), sys.stdout)
