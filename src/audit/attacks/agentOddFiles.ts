import type { HostileAgent } from '../types.ts';

export const agentOddFiles: HostileAgent = {
  kind: 'agent',
  name: 'agent-odd-files',
  tries:
    'fills the tree with links out of it, pipes, sockets, names that are not UTF-8, nested repositories and a huge file.',
  expected: ['empty_patch', 'patch_failed', 'unresolved'],
  script: () => String.raw`
ln -s / root_link; ln -s /proc/1/environ environ.py; mkfifo pipe.py
printf 'x = 1\n' > "$(printf 'bad\377name.py')"; printf 'x\n' > "$(printf 'two\nlines.py')"
mkdir nested && git -C nested init -q && printf 'x\n' > nested/a.py
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('sock')"
head -c 90000000 /dev/urandom > huge.bin
chmod 000 huge.bin; chmod 4777 pipe.py
exit 0
`,
};
