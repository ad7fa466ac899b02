import { SANDBOX_DIRECTORIES } from './docker.ts';

/**
 * Files that no test run reads, kept from being written at all (dpkg's path-exclude).
 * Licence texts of the packages are the exception: images may be handed on.
 */
export const EXCLUDED_PATHS: readonly string[] = [
  '/usr/share/man/*',
  '/usr/share/info/*',
  '/usr/share/locale/*',
  '/usr/share/i18n/*',
  '/usr/share/doc/*',
  '/usr/share/doc-base/*',
  '/usr/share/lintian/*',
  '/usr/share/bash-completion/*',
  '/usr/share/gitweb/*',
  '/usr/share/zoneinfo/right/*',
  '/usr/share/zoneinfo/posix/*',
];
export const INCLUDED_PATHS: readonly string[] = ['/usr/share/doc/*/copyright'];

/** Character sets for iconv(3); Python has its own, and glibc reads UTF-8 without a module. */
const KEPT_GCONV = 'gconv-modules*|ISO8859-1.so|UTF-7.so|UTF-16.so|UTF-32.so|UNICODE.so';

/** uid 1000 runs tests, uid 1001 installs; names only matter to `getpwuid`, `~` and `whoami`. */
const ACCOUNTS = `
grep -q '^test:' "$1/etc/group" || echo 'test:x:1000:' >> "$1/etc/group"
grep -q '^test:' "$1/etc/passwd" || echo 'test:x:1000:1000::/home/test:/bin/sh' >> "$1/etc/passwd"
grep -q '^build:' "$1/etc/passwd" || echo 'build:x:1001:1000::/home/build:/bin/sh' >> "$1/etc/passwd"
`;

const DIRECTORIES = SANDBOX_DIRECTORIES.map(
  ({ path, owner, mode }) =>
    `mkdir -p "$1${path}" && chown ${owner} "$1${path}" && chmod ${mode} "$1${path}"`,
).join('\n');

/** Shell that makes users and directories in the root directory `$1`; for bootstrapped and pulled bases alike. */
export const layoutScript = `${ACCOUNTS}${DIRECTORIES}
ln -sf /usr/bin/git "$1/usr/lib/git-core/git" 2>/dev/null || true
[ -e "$1/usr/local/bin/python" ] || [ ! -e "$1/usr/bin/python3" ] || ln -s /usr/bin/python3 "$1/usr/local/bin/python"
chmod 1777 "$1/tmp"
`;

/**
 * Shell that takes out of a fresh Debian tree `$1` what building and testing Python packages does not need.
 * Kept on purpose: the standard library's bytecode (the test user cannot write it, and every Python start would pay),
 * `test.support`, time zones, the CA bundle, perl-base (essential), static parts that the linker needs.
 */
export const slimScript = `
cd "$1"
# links lead to git itself; the files are helpers for what a sandbox never does (network, mail, other version control)
find usr/lib/git-core -mindepth 1 -maxdepth 1 ! -type l -exec rm -rf {} +
rm -f usr/bin/scalar usr/bin/git-shell
for folder in usr/lib/*/gconv; do
  for file in "$folder"/*; do case "\${file##*/}" in ${KEPT_GCONV}) ;; *) rm -rf "$file" ;; esac; done
done
rm -rf usr/lib/*/perl usr/share/perl usr/share/perl5 usr/lib/*/libperl.so* usr/share/git-core/contrib
rm -rf usr/lib/python3*/idlelib usr/lib/python3*/tkinter usr/lib/python3*/turtledemo usr/lib/python3*/pydoc_data
rm -f usr/lib/python3*/EXTERNALLY-MANAGED
for name in c m mvec asan tsan ubsan lsan hwasan; do rm -f usr/lib/*/lib$name.a usr/lib/*/lib$name-*.a usr/lib/gcc/*/*/lib$name.a; done
rm -f usr/bin/*-lto-dump* usr/lib/*/lib[atl]san.so* usr/lib/*/libubsan.so* usr/lib/*/libgprofng*
rm -f usr/lib/python3*/config-*/libpython*.a usr/lib/*/libpython*.a
rm -rf var/cache/* var/log/* var/lib/apt var/lib/dpkg/*-old var/lib/dpkg/info/*.md5sums var/lib/dpkg/info/*.templates
rm -rf tmp/* etc/resolv.conf etc/hostname etc/machine-id etc/.pwd.lock
rm -rf var/lib/systemd usr/lib/systemd usr/lib/udev usr/share/debconf etc/systemd etc/cron* etc/apt
rm -f etc/ssl/private/* usr/bin/localedef usr/bin/openssl
mkdir -p var/cache var/log
`;
