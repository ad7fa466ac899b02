/** The shell scripts of a run, and the names that they share with the orchestration. Each is one exec: a round trip costs 50 ms. */
import { SANDBOX_PATHS } from '../../sandbox/types.ts';
import type { TreeChange } from './workspaceChange.ts';
import { reversedOrder } from './repetitions.ts';
import type { RunnerConfig } from './runnerConfig.ts';

const { repo, venv, environment, output, runner } = SANDBOX_PATHS;

export const RUNNER_FILES = {
  deleted: `${runner}/deleted`,
  canaries: `${runner}/canaries.py`,
  junit: `${output}/junit.xml`,
} as const;

/** Exit code of the commit script when the tree in the sandbox is not the commit's tree. */
export const TREE_DIFFERS = 90;

const GIT_ENV = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'RepoForge',
  GIT_AUTHOR_EMAIL: 'repoforge@localhost',
  GIT_COMMITTER_NAME: 'RepoForge',
  GIT_COMMITTER_EMAIL: 'repoforge@localhost',
  GIT_AUTHOR_DATE: '1700000000 +0000',
  GIT_COMMITTER_DATE: '1700000000 +0000',
} as const;

/** Wins over every .gitattributes of the tree: content is stored byte for byte. */
const ATTRIBUTES = '* -text !eol -crlf -ident !filter !working-tree-encoding';
/** What installing and running leave behind is no change of the repository. */
const EXCLUDES = ['*.egg-info/', '__pycache__/', '*.pyc', '.repoforge-pytest.*'];

export interface Script {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/**
 * Makes the tree a repository of exactly one commit and proves that it is the commit's tree, byte for byte.
 * @param submodules `160000 <oid>\t<path>` lines: an archive holds them as empty directories
 */
export function commitScript(treeOid: string, submodules: readonly string[]): Script {
  const script = `set -e
git init -q --template= -b main . && mkdir -p .git/info
printf '%s\\n' '${ATTRIBUTES}' > .git/info/attributes
printf '%s\\n' ${EXCLUDES.map((line) => `'${line}'`).join(' ')} > .git/info/exclude
git -c core.autocrlf=false -c core.fileMode=true -c core.symlinks=true -c core.safecrlf=false add -A -f .
${submodules.length === 0 ? '' : 'git update-index --add --index-info'}
tree=$(git write-tree)
if [ "$tree" != "$1" ]; then echo "the sandbox has tree $tree"; exit ${TREE_DIFFERS}; fi
git update-ref HEAD "$(git commit-tree "$tree" -m base < /dev/null)"`;
  return {
    command: ['sh', '-c', script, 'commit', treeOid],
    env: { ...GIT_ENV, HOME: '/home/test' },
    stdin: submodules.map((line) => `${line}\n`).join(''),
  };
}

/** Last line of the install script's output when all went well: the versions that the installed project reports. */
export const VERSION_MARK = 'repoforge-version:';

/** Line of the install script's output when the installer failed and `setup.py develop` took its place. */
export const FALLBACK_MARK = 'trying setup.py develop';

/**
 * Makes the venv and installs the project, as the build user. The tree stays writable for the test user (umask 002), the
 * venv does not. A back-end from before editable wheels gets `setup.py develop`.
 * @param install the spec's install command as words; empty for a project that is not installed
 */
export function installScript(install: readonly string[], version: string | null): Script {
  const script = `set -e
umask 022
# The tree belongs to the test user, and file finders of build back-ends ask git about it. They drop GIT_* variables.
printf '[safe]\\n\\tdirectory = *\\n' > "$HOME/.gitconfig"
python3 -m venv --without-pip ${venv}
site=$(echo ${venv}/lib/python3*/site-packages)
printf 'import site; site.addsitedir("${environment}")\\n' > "$site/repoforge-environment.pth"
: > "$site/sitecustomize.py" # found before one of the tree, which an editable install would put on the path
umask 002
code=0; ${install.length === 0 ? ':' : '"$@" || code=$?'}
# an installer that was killed (128 + signal) says nothing about the back end
if [ $code -ne 0 ] && { [ $code -ge 128 ] || [ ! -f setup.py ]; }; then exit $code; fi
if [ $code -ne 0 ]; then echo '${FALLBACK_MARK}'; python setup.py -q develop --no-deps; fi
chmod -R go-w ${venv}
for file in "$site"/*.dist-info/METADATA *.egg-info/PKG-INFO src/*.egg-info/PKG-INFO; do
  [ -f "$file" ] && sed -n 's/^Version: */${VERSION_MARK} /p' "$file" | head -n 1
done
exit 0`;
  return {
    command: ['sh', '-c', script, 'install', ...install],
    env: {
      PATH: `${venv}/bin:/usr/local/bin:/usr/bin:/bin`,
      VIRTUAL_ENV: venv,
      HOME: '/home/build',
      LC_ALL: 'C.UTF-8',
      TZ: 'UTC',
      PYTHONDONTWRITEBYTECODE: '1',
      UV_NO_CACHE: '1',
      UV_NO_CONFIG: '1',
      UV_LINK_MODE: 'copy',
      UV_PYTHON_DOWNLOADS: 'never',
      SKIP_WRITE_GIT_CHANGELOG: '1',
      // the calendar's list of classifiers is older than a base that names the next Python
      HATCH_METADATA_CLASSIFIERS_NO_VERIFY: '1',
      SKIP_GENERATE_AUTHORS: '1',
      ...versionEnvironment(version),
    },
  };
}

/** A tree without history cannot tell its version: every tool that would ask git is told. */
function versionEnvironment(version: string | null): Readonly<Record<string, string>> {
  if (version === null || version === '') return {};
  return {
    SETUPTOOLS_SCM_PRETEND_VERSION: version, // hatch-vcs and flit-scm too
    PBR_VERSION: version,
    POETRY_DYNAMIC_VERSIONING_BYPASS: version,
    PDM_BUILD_SCM_VERSION: version,
    UV_DYNAMIC_VERSIONING_BYPASS: version,
  };
}

/** Deletes what the change deletes, and directories that are empty then, as git does. */
const DELETE = `if [ -s ${RUNNER_FILES.deleted} ]; then
  xargs -0 -r rm -f -- < ${RUNNER_FILES.deleted} || exit
  # then the directories that this emptied; one that is not empty, or went with another, is no fault
  xargs -0 -r -n 1 dirname -z -- < ${RUNNER_FILES.deleted} | xargs -0 -r rmdir -p -- 2>/dev/null || :
fi`;

/** What `DELETE` deletes of a change. A file that made way for a directory of its name went when that was written. */
export const deletionsFile = ({ files, deleted }: TreeChange) => ({
  path: RUNNER_FILES.deleted,
  content: deleted
    .filter((path) => !files.some((file) => file.path.startsWith(`${path}/`)))
    .map((path) => `${path}\0`)
    .join(''),
});

export const deleteScript = (): Script => ({ command: ['sh', '-c', DELETE], env: {} });

/** The environment of the tests: nothing of the image's, the host's or the index's. */
export const TEST_ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: `${venv}/bin:/usr/local/bin:/usr/bin:/bin`,
  VIRTUAL_ENV: venv,
  HOME: '/home/test',
  USER: 'test',
  LC_ALL: 'C.UTF-8',
  LANG: 'C.UTF-8',
  TZ: 'UTC',
  PYTHONDONTWRITEBYTECODE: '1',
  PYTHONHASHSEED: '0',
  PYTHONUNBUFFERED: '1', // what was printed before a hang is in the log
  COLUMNS: '120',
  CI: 'true',
};

/**
 * Starts pytest as `python -m pytest` does, with the working directory first on the path, but finds the runner itself where
 * the environment has it: no `pytest.py`, `_pytest`, `pluggy` or `xml` of the tree is imported in its place. A module of
 * the tree that would stand in for a plugin of the environment ends the run.
 */
const LAUNCHER = `
import sys
found = [path for path in sys.path if path]
inside = ["${repo}"] + [path for path in found if path.startswith("${repo}/")]
sys.path[:] = [path for path in found if path not in inside]
import importlib, importlib.metadata, os, runpy
import pytest, _pytest.config, xml.etree.ElementTree
for name in _pytest.config.default_plugins:
    importlib.import_module("_pytest." + name)
for one in importlib.metadata.distributions(path=["${environment}"]):
    for entry in one.entry_points:
        if entry.group == "pytest11":
            name = entry.value.split(":")[0].split(".")[0].strip()
            for path in inside:
                if os.path.exists(os.path.join(path, name + ".py")) or os.path.exists(os.path.join(path, name, "__init__.py")):
                    sys.exit(path + " has a module " + name + " in place of the runner's plugin: nothing is run")
sys.path[:] = ["${repo}"] + found
del found, inside, importlib, os
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
`;
const LAUNCH = [`${venv}/bin/python`, '-c', LAUNCHER];
const PLAIN = [`${venv}/bin/python`, '-m', 'pytest'];

/** The runner with the options that give its words their form; exported images run the same, without a results file. */
export const runnerCommand = (
  config: RunnerConfig,
  results: readonly string[],
  start: readonly string[] = PLAIN,
): readonly string[] =>
  [
    [...start, '-c', `${repo}/${config.fileName}`, `--rootdir=${repo}`],
    ['-p', 'no:cacheprovider', '-p', 'no:randomly', '-p', 'no:sugar'],
    ['-o', 'junit_family=xunit1', ...results],
    ['-rA', '--tb=native', '--color=no', '--continue-on-collection-errors'],
  ].flat();

/**
 * Runs the tests as the test user, then ends whatever they left running, so that nobody writes results after the runner.
 * @param scope test files, or paths where discovery starts; empty for the runner's own discovery
 * @param reversed the last test first
 */
export function testScript(config: RunnerConfig, scope: readonly string[], reversed = false): Script {
  const env = Object.entries(TEST_ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
  const results = ['-o', 'junit_logging=no', `--junitxml=${RUNNER_FILES.junit}`];
  const command = runnerCommand(config, results, LAUNCH);
  return {
    command: [
      'sh',
      '-c',
      `${DELETE}
rm -f ${RUNNER_FILES.junit}
env -i "$@" < /dev/null; code=$?
kill -KILL -1 2>/dev/null
exit $code`,
      'tests',
      ...env,
      ...(reversed ? reversedOrder(command) : command),
      ...scope,
    ],
    env: {},
  };
}

/** Makes the canary pool of pristine test files, before any test ran, on the base system's own Python. */
export function poolScript(files: readonly string[]): Script {
  return {
    command: ['sh', '-c', `${DELETE}\nexec python3 -I ${RUNNER_FILES.canaries}`],
    env: { HOME: '/home/test', LC_ALL: 'C.UTF-8' },
    stdin: JSON.stringify(files),
  };
}
