import { expect, test } from 'vitest';
import { groupIds, groupNumber, heldOutVersion, mayTrainOn } from '../../../src/domain/rl/groupIds.ts';

test.each([
  [groupIds.trained(1, 12), 'e1-g000012', 12, null, true],
  [groupIds.heldOut(1, 10, 3), 'e1-held000010-3', 3, 10, false],
  [groupIds.heldOut(0, 10, 3), 'e0-held000010-3', 3, null, false], // of an earlier start
  [groupIds.attempts(7), 'i000007', 7, null, true],
  [groupIds.choice(1_234_567), 's1234567', 1_234_567, null, false],
])('%s says what its group was played for', (name, written, number, version, trainable) => {
  expect(name).toBe(written);
  expect(groupNumber(name)).toBe(number);
  expect(heldOutVersion(1, name)).toBe(version);
  expect(mayTrainOn(name)).toBe(trainable);
});

test('A name without a number has none', () => {
  expect(groupNumber('held-out')).toBeUndefined();
});
