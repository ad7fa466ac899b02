/** Names of groups: they say what a group was played for, long after its run. */
const padded = (index: number): string => String(index).padStart(6, '0');

export const groupIds = {
  /** Of a training run, by its place in the order of dispatch. */
  trained: (epoch: number, place: number): string => `e${epoch}-g${padded(place)}`,
  /** Of a training run's held-out instance, played with a version. */
  heldOut: (epoch: number, version: number, index: number): string =>
    `e${epoch}-held${padded(version)}-${index}`,
  /** Attempts at an instance of `rollout run`. */
  attempts: (index: number): string => `i${padded(index)}`,
  /** The choice among them. */
  choice: (index: number): string => `s${padded(index)}`,
};

/** The number that a name ends in: the group's place in the order of dispatch, or its instance's in the list. */
export function groupNumber(group: string): number | undefined {
  const digits = /(\d+)$/.exec(group)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The version that a held-out group of this start was played with; null for any other group. */
export function heldOutVersion(epoch: number, group: string): number | null {
  const [, text] = new RegExp(`^e${epoch}-held(\\d+)-`).exec(group) ?? [];
  return text === undefined ? null : Number(text);
}

/** Whether its episodes may be trained on: not held-out ones, whose instances are kept apart, and not choices among attempts. */
export const mayTrainOn = (group: string): boolean => !/^(?:e\d+-held|s\d)/.test(group);
