"""
The sweeping half of `gc` inside the package store: Python of the base image, standard library only, one JSON request on
stdin, one JSON answer on stdout. Two requests, in this order:

`environments` removes environments that nothing names and that nobody realised since `before`. Realising touches the
marker under a shared lock that is taken exclusively here, so an environment is either seen as young, or is gone when it
is looked for and is made again. Removing is one rename; the files go later.

`caches` deletes what was renamed away, then archives of the permanent cache that no environment shares an inode with,
then what is old in the working cache. It holds the store's own fill lock and uv's locks, so nothing is being installed.
Nothing of a cache is deleted in place: uv would install half an archive as if it were whole.
"""
import fcntl, json, os, re, shutil, sys, time, uuid

request = json.load(sys.stdin)
ROOT = request.get("root", "/store")
BEFORE = request["before"]
DRY = request["dryRun"]
PATIENCE = 120  # seconds for a build in progress to end; after that, the caches wait for the next time

def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()

def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []

def is_old(path):
    try:
        return os.lstat(path).st_mtime < BEFORE
    except OSError:
        return False

def used_bytes():
    """Allocated bytes of the whole volume, each inode once."""
    seen = {}
    for folder, names, leaves in os.walk(ROOT):
        for name in leaves + names:
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())

def inodes_of(path):
    for folder, _, leaves in os.walk(path):
        for name in leaves:
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            yield status.st_ino, status

class Lock:
    def __init__(self, path, patience):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.handle = open(path, "a+")
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(path)
                time.sleep(0.05)

# ---- environments ---------------------------------------------------------------------------------------------------

def environments():
    kept = {"envs": set(request["pruned"]), "envs-full": set(request["full"])}
    removed, present = [], []
    for area, keys in kept.items():
        top = os.path.join(ROOT, area)
        for name in listed(top):
            path = os.path.join(top, name)
            if name.startswith(".") or not os.path.isdir(path):
                continue
            entry = {"key": name, "variant": "pruned" if area == "envs" else "full"}
            if name in keys or not remove_environment(path):
                present.append(entry)
            else:
                removed.append(entry)
    return {"removed": removed, "present": present}

def remove_environment(path):
    marker = path + ".json"
    lock = Lock(ROOT + "/locks/sweep.lock", 600)  # held by others only while they look
    try:
        # without a marker it is half made: the directory tells how long ago
        if not is_old(marker if os.path.exists(marker) else path):
            return False
        if not DRY:
            for name in (marker, path + ".index.json"):
                if os.path.exists(name):
                    os.unlink(name)
            os.rename(path, os.path.join(os.path.dirname(path), ".tmp-gone-" + os.path.basename(path)))
        return True
    finally:
        lock.handle.close()

# ---- caches -----------------------------------------------------------------------------------------------------------

def caches():
    before = used_bytes()
    try:
        locks = [Lock(ROOT + "/locks/fill.lock", PATIENCE), Lock(ROOT + "/.resolve.lock", PATIENCE)]
        for cache in ("/cache", "/cache-full"):
            if os.path.isdir(ROOT + cache):
                locks.append(Lock(ROOT + cache + "/.lock", PATIENCE))
    except TimeoutError as busy:
        return {"freedBytes": 0, "archives": 0, "busy": str(busy)}
    doomed = leftovers()
    environments_alive = [os.path.join(ROOT, area, name) for area in ("envs", "envs-full") for name in listed(os.path.join(ROOT, area))
                          if os.path.isdir(os.path.join(ROOT, area, name)) and not name.startswith(".tmp-")
                          and not (area, name) in planned()]
    alive = {inode for path in environments_alive for inode, _ in inodes_of(path)}
    archives = [os.path.join(ROOT, "cache/archive-v0", name) for name in listed(ROOT + "/cache/archive-v0")]
    archives = [path for path in archives if is_old(path) and not shares(path, alive)]
    working = [os.path.join(ROOT, "cache-full", bucket, name) for bucket in listed(ROOT + "/cache-full")
               if bucket.startswith(("archive-", "builds-", "environments-")) for name in listed(os.path.join(ROOT, "cache-full", bucket))]
    working = [path for path in working if is_old(path) and os.path.isdir(path)]
    if DRY:
        gone = doomed + archives + working + [os.path.join(ROOT, area, name) for area, name in planned()]
        return {"freedBytes": freed_by(gone), "archives": len(archives), "busy": None}
    doomed += [renamed_away(path) for path in archives + working]
    for cache in ("/cache", "/cache-full"):
        drop_pointers(ROOT + cache)
    forget_pruned()
    for path in doomed:
        shutil.rmtree(path, ignore_errors=True)  # what stays is a leftover of the next time
    return {"freedBytes": max(0, before - used_bytes()), "archives": len(archives), "busy": None}

def planned():
    """In a dry run: environments that would be gone by now."""
    return {("envs" if one["variant"] == "pruned" else "envs-full", one["key"]) for one in request.get("planned", [])} if DRY else set()

def leftovers():
    """What killed work left: nobody builds now, since the fill lock is ours."""
    found = [os.path.join(ROOT, area, name) for area in ("envs", "envs-full") for name in listed(os.path.join(ROOT, area)) if name.startswith(".tmp-")]
    return found + [os.path.join(ROOT, cache, name) for cache in ("cache", "cache-full") for name in listed(os.path.join(ROOT, cache))
                    if name.startswith(".linking-")]

def renamed_away(path):
    """From `<cache>/<bucket>/<name>` to a name that only `leftovers` knows."""
    gone = os.path.join(os.path.dirname(os.path.dirname(path)), ".linking-gone-" + uuid.uuid4().hex)
    os.rename(path, gone)
    return gone

def shares(archive, alive):
    return any(inode in alive for inode, status in inodes_of(archive) if status.st_nlink > 1)

def freed_by(paths):
    """Bytes of directories, and of inodes all of whose links lie in these paths."""
    links, sizes, folders = {}, {}, 0
    for path in paths:
        folders += sum(os.lstat(folder).st_blocks * 512 for folder, _, _ in os.walk(path))
        for inode, status in inodes_of(path):
            links[inode] = links.get(inode, 0) + 1
            sizes[inode] = (status.st_blocks * 512, status.st_nlink)
    return folders + sum(size for inode, (size, total) in sizes.items() if links[inode] >= total)

def drop_pointers(cache):
    """uv's entries for wheels whose archive is gone, and the index pages of packages that have none left."""
    left, lost = set(), set()
    for bucket in listed(cache):
        if not bucket.startswith(("wheels-", "sdists-")):
            continue
        for folder, names, leaves in os.walk(os.path.join(cache, bucket)):
            for name in names + leaves:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    continue
                package = normal(os.path.basename(folder))
                if os.path.exists(path):
                    left.add(package)
                    continue
                lost.add(package)
                for stale in (path, path + ".http", path + ".rev", path + ".msgpack", path + ".lock"):
                    if os.path.lexists(stale):
                        os.unlink(stale)
    for bucket in listed(cache):
        if bucket.startswith("simple-"):
            for folder, _, leaves in os.walk(os.path.join(cache, bucket)):
                for name in leaves:
                    package = normal(name[:-5] if name.endswith(".rkyv") else name)
                    if package in lost - left:
                        os.unlink(os.path.join(folder, name))

def forget_pruned():
    ledger_file = ROOT + "/pruned.json"
    try:
        with open(ledger_file) as handle:
            ledger = json.load(handle)
    except (OSError, ValueError):
        return
    present = set(listed(ROOT + "/cache/archive-v0"))
    if set(ledger) - present:
        temporary = ledger_file + ".gc.tmp"
        with open(temporary, "w") as handle:
            json.dump({name: entry for name, entry in ledger.items() if name in present}, handle, sort_keys=True)
            handle.flush()
            os.fsync(handle.fileno())
        os.rename(temporary, ledger_file)

json.dump({"environments": environments, "caches": caches}[request["command"]](), sys.stdout)
