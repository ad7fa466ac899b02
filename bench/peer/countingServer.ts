import { countTokens } from 'gpt-tokenizer/encoding/o200k_base';
import { z } from 'zod';

/**
 * Answers as models give them to our prompt: one sentence per text, between a good task and a doubtful one. They are what
 * completion tokens are counted on; scores do not matter here.
 */
const ANSWERS: readonly string[] = [
  '{"issue_clarity":{"reason":"The issue names the function, the wrong result for an empty iterable and the exception that callers should get instead, so one reading is enough.","score":0},"test_fairness":{"rejected_solution":"none","reason":"The tests call only public functions named in the issue and compare values that follow from its description.","score":0},"effort":{"reason":"The faulty condition is in one short function and needs two changed lines once the case is reproduced.","score":0}}',
  '{"issue_clarity":{"reason":"The release note says that the decorator supports custom keys for methods but leaves open how they are combined with the instance, although one way is clearly sensible.","score":1},"test_fairness":{"rejected_solution":"A correct change that exposes the key function as a property called key_function instead of cache_key would work for every user of the described feature.","reason":"test_decorator_attributes asserts on the attribute name cache_key, which neither the issue nor existing code gives.","score":2},"effort":{"reason":"Two decorators and their wrappers must agree on new attributes, and both the locked and the unlocked path need the same care.","score":1}}',
  '{"issue_clarity":{"reason":"Only a list of changes is given, with no expected behaviour for time zones, so several different results would satisfy the words that are used.","score":2},"test_fairness":{"rejected_solution":"Rounding half up in naturaldelta is correct by the issue, but test_naturaldelta_rounding compares with the strings that banker\'s rounding happens to give.","reason":"Exact strings for halves are asserted although the issue never mentions how values between two units are rounded.","score":1},"effort":{"reason":"The conversion is spread over three helpers with translations, and the thresholds have to be derived from the tables for every supported unit.","score":2}}',
];

const REQUEST = z.object({
  n: z.number().optional(),
  messages: z.array(z.object({ role: z.string(), content: z.string() })),
});

/** What OpenAI adds: three tokens around each message, three before the answer. */
const AROUND_MESSAGE = 3;
const BEFORE_ANSWER = 3;

/**
 * A chat-completions server without a model, as the labeller's `fetch`: it gives the answers above and counts both sides
 * with the o200k_base vocabulary (gpt-4o, gpt-4.1 and later), prompt tokens once for all answers of a request, as OpenAI
 * bills them.
 */
export const countingServer: typeof globalThis.fetch = async (_url, init) => {
  const { n = 1, messages } = REQUEST.parse(JSON.parse(init?.body as string));
  const answers = Array.from({ length: n }, (_, index) => ANSWERS[index % ANSWERS.length] ?? '');
  const promptTokens = messages.reduce(
    (sum, { role, content }) => sum + AROUND_MESSAGE + countTokens(role) + countTokens(content),
    BEFORE_ANSWER,
  );
  return Response.json({
    id: 'counted',
    object: 'chat.completion',
    created: 0,
    model: 'counted',
    choices: answers.map((content, index) => ({
      index,
      finish_reason: 'stop',
      message: { role: 'assistant', content },
    })),
    usage: {
      prompt_tokens: promptTokens,
      completion_tokens: answers.reduce((sum, answer) => sum + countTokens(answer), 0),
    },
  });
};

export { countTokens };
