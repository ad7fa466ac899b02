import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import { FAILURE_TYPES, permanentFailure } from '../../src/domain/failures.ts';
import { classifyDockerError, dockerCall } from '../../src/sandbox/errors.ts';

/** An error as docker-modem makes it of an HTTP answer. */
const answer = (statusCode: number, message: string): Error =>
  Object.assign(new Error(`(HTTP code ${statusCode}) unexpected - ${message}`), {
    statusCode,
    json: { message },
  });
/** An error of the socket. */
const socket = (code: string): Error =>
  Object.assign(new Error(`connect ${code} /var/run/docker.sock`), { code });

describe('every error of the Docker daemon becomes a retryable failure that says what to do', () => {
  it.each([
    [
      'a daemon that is gone',
      socket('ECONNREFUSED'),
      'Infra',
      /daemon does not answer \(ECONNREFUSED\).*DOCKER_HOST/,
    ],
    ['a socket that is not there', socket('ENOENT'), 'Infra', /daemon does not answer \(ENOENT\)/],
    [
      'a daemon that dies in the middle',
      socket('ECONNRESET'),
      'Infra',
      /daemon does not answer \(ECONNRESET\)/,
    ],
    ['a socket that we may not use', socket('EACCES'), 'Infra', /add this user to the docker group/],
    [
      'a full disk while a layer is written',
      answer(500, 'write /x: no space left on device'),
      'Infra.NoDisk',
      /disk space.*repoforge storage/,
    ],
    [
      'a full disk as a progress event',
      new Error('ApplyLayer: no space left on device'),
      'Infra.NoDisk',
      /disk space/,
    ],
    [
      'an image that is not there',
      answer(404, 'No such image: repoforge-base:x'),
      'Infra',
      /image to start it is not on this machine/,
    ],
    [
      'a mount without a source',
      answer(400, 'invalid mount config for type "bind": bind source path does not exist: /a'),
      'Infra.MissingMount',
      /mount's source is missing/,
    ],
    ['a container that was removed', answer(404, 'No such container: abc'), 'Infra', /container vanished/],
    [
      'a container that was stopped',
      answer(409, 'Container abc is not running'),
      'Infra',
      /stopped from outside/,
    ],
    [
      'any other refusal',
      answer(500, 'cgroup trouble'),
      'Infra',
      /Docker failed when asked to start it \(HTTP 500\): cgroup trouble/,
    ],
    ['something that is no error at all', 'boom', 'Infra', /boom/],
  ])('%s', (_case, error, type, sentence) => {
    const failure = classifyDockerError(error, 'start it');
    expect(failure.type).toBe(type);
    expect(failure.nonRetryable).toBe(false);
    expect(failure.message).toMatch(sentence);
  });

  it('leaves a failure that is classified already as it is', () => {
    const failure = permanentFailure(FAILURE_TYPES.badInput, 'no');
    expect(classifyDockerError(failure, 'x')).toBe(failure);
  });

  it('calls a daemon that hangs infra when the time is up', async () => {
    const hanging = dockerCall('list containers', async () => new Promise<never>(() => undefined), 20);
    await expect(hanging).rejects.toThrow(ApplicationFailure);
    await expect(hanging).rejects.toThrow(/did not list containers within/);
  });
});
