/**
 * Milliseconds that a `Retry-After` header asks to wait (RFC 9110, 10.2.3: seconds or an HTTP date); null when the
 * header is missing or nonsense. Never under one second, so that a zero does not make a hot loop.
 */
export function retryAfterMs(value: string | number | null | undefined, nowMs: number): number | null {
  if (value === undefined || value === null || value === '') return null;
  const seconds = Number(value);
  if (Number.isFinite(seconds)) return seconds < 0 ? null : Math.max(1_000, Math.ceil(seconds * 1_000));
  const date = Date.parse(String(value));
  return Number.isNaN(date) ? null : Math.max(1_000, date - nowMs);
}
