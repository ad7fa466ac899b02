"""The commits of a clone (argv[1]) that are no merges, with the paths that each changes, read as PyDriller's users read them.

Prints one JSON document: the time of the loop alone (Python's start and the import are not in it) and the commits.
"""

import json
import sys
import time

from pydriller import Repository

started = time.perf_counter()
commits = []
for commit in Repository(sys.argv[1], only_no_merge=True).traverse_commits():
    files = [(file.change_type.name, file.old_path, file.new_path) for file in commit.modified_files]
    commits.append((commit.hash, len(commit.parents), files))
seconds = time.perf_counter() - started
json.dump({"seconds": seconds, "commits": commits}, sys.stdout)
