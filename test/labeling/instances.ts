import type { LabelInput } from '../../src/labeling/types.ts';

/** A small, fair instance; tests change what they are about. */
export const INSTANCE: LabelInput = {
  instanceId: 'octo__widget-1',
  repo: 'octo/widget',
  problemStatement:
    'Cache grows beyond maxsize\n\nWhen I set a key that is there already, `Cache.__setitem__` counts it twice:\n\n```\n>>> cache["a"] = 1\n>>> cache["a"] = 2\n```\nExpected: `currsize` stays 1. Actual: it is 2.',
  patch: `diff --git a/widget/cache.py b/widget/cache.py
index 1111111..2222222 100644
--- a/widget/cache.py
+++ b/widget/cache.py
@@ -10,5 +10,6 @@ class Cache:
     def __setitem__(self, key, value):
         self.data[key] = value
-        self.currsize += 1
+        if key not in self.data:
+            self.currsize += 1
         return None
`,
  testPatch: `diff --git a/tests/test_cache.py b/tests/test_cache.py
index 3333333..4444444 100644
--- a/tests/test_cache.py
+++ b/tests/test_cache.py
@@ -1,3 +1,8 @@
 from widget.cache import Cache
 
+def test_set_twice():
+    cache = Cache(2)
+    cache["a"] = 1
+    cache["a"] = 2
+    assert cache.currsize == 1
`,
  files: [
    {
      path: 'widget/cache.py',
      content: `${'# licence\n'.repeat(9)}class Cache:\n    def __setitem__(self, key, value):\n        self.data[key] = value\n        self.currsize += 1\n        return None\n`,
    },
    { path: 'tests/test_cache.py', content: 'from widget.cache import Cache\n\n' },
  ],
  failToPass: ['tests/test_cache.py::test_set_twice'],
  passToPass: ['tests/test_cache.py::test_get', 'tests/test_cache.py::test_len'],
};
