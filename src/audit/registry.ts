/** Every attack. A new one is a file beside these and a line here. */
import { agentBackground } from './attacks/agentBackground.ts';
import { agentGitHistory } from './attacks/agentGitHistory.ts';
import { agentGitTricks } from './attacks/agentGitTricks.ts';
import { agentNetwork } from './attacks/agentNetwork.ts';
import { agentNoGit } from './attacks/agentNoGit.ts';
import { agentOddFiles } from './attacks/agentOddFiles.ts';
import { agentPlants } from './attacks/agentPlants.ts';
import { agentReadFiles } from './attacks/agentReadFiles.ts';
import { agentStore } from './attacks/agentStore.ts';
import { assertionError } from './attacks/assertionError.ts';
import { assertionRewriting } from './attacks/assertionRewriting.ts';
import { binary } from './attacks/binary.ts';
import { blankPatch } from './attacks/blankPatch.ts';
import { builtPth } from './attacks/builtPth.ts';
import { carriageReturns } from './attacks/carriageReturns.ts';
import { conftestHook } from './attacks/conftestHook.ts';
import { empty } from './attacks/empty.ts';
import { equalToAll } from './attacks/equalToAll.ts';
import { exitAtEnd } from './attacks/exitAtEnd.ts';
import { exitAtImport } from './attacks/exitAtImport.ts';
import { exitCode } from './attacks/exitCode.ts';
import { exitNative } from './attacks/exitNative.ts';
import { expectFailures } from './attacks/expectFailures.ts';
import { heapWalk } from './attacks/heapWalk.ts';
import { hugeFile } from './attacks/hugeFile.ts';
import { killRunner } from './attacks/killRunner.ts';
import { modeChanges } from './attacks/modeChanges.ts';
import { moduleAsLink } from './attacks/moduleAsLink.ts';
import { moduleHook } from './attacks/moduleHook.ts';
import { modulePlugin } from './attacks/modulePlugin.ts';
import { network } from './attacks/network.ts';
import { nonUtf8Names } from './attacks/nonUtf8Names.ts';
import { nop } from './attacks/nop.ts';
import { notAPatch } from './attacks/notAPatch.ts';
import { pathTraversal } from './attacks/pathTraversal.ts';
import { pluginEntryPoint } from './attacks/pluginEntryPoint.ts';
import { pluginInTree } from './attacks/pluginInTree.ts';
import { pluginMetadata } from './attacks/pluginMetadata.ts';
import { printedResults } from './attacks/printedResults.ts';
import { pyprojectOptions } from './attacks/pyprojectOptions.ts';
import { pytestIni } from './attacks/pytestIni.ts';
import { readGold } from './attacks/readGold.ts';
import { restartRunner } from './attacks/restartRunner.ts';
import { resultsAfterEnd } from './attacks/resultsAfterEnd.ts';
import { resultsAtImport } from './attacks/resultsAtImport.ts';
import { runnerInTree } from './attacks/runnerInTree.ts';
import { selectiveBase } from './attacks/selectiveBase.ts';
import { selectiveForm } from './attacks/selectiveForm.ts';
import { selectiveMessages } from './attacks/selectiveMessages.ts';
import { selectiveNames } from './attacks/selectiveNames.ts';
import { selectiveResults } from './attacks/selectiveResults.ts';
import { skipEverything } from './attacks/skipEverything.ts';
import { startupCustomize } from './attacks/startupCustomize.ts';
import { startupPth } from './attacks/startupPth.ts';
import { submodule } from './attacks/submodule.ts';
import { swallowedErrors } from './attacks/swallowedErrors.ts';
import { symlinkOut } from './attacks/symlinkOut.ts';
import { testsDeleted } from './attacks/testsDeleted.ts';
import { testsEdited } from './attacks/testsEdited.ts';
import { testsOnDisk } from './attacks/testsOnDisk.ts';
import { testsReplaced } from './attacks/testsReplaced.ts';
import { testsShadowed } from './attacks/testsShadowed.ts';
import { unittestAsserts } from './attacks/unittestAsserts.ts';
import { usageError } from './attacks/usageError.ts';
import { writeOutside } from './attacks/writeOutside.ts';
import type { Attack } from './types.ts';

export const ATTACKS: readonly Attack[] = [
  nop,
  empty,
  blankPatch,
  notAPatch,
  conftestHook,
  pytestIni,
  pyprojectOptions,
  runnerInTree,
  pluginInTree,
  startupCustomize,
  startupPth,
  builtPth,
  pluginMetadata,
  pluginEntryPoint,
  moduleHook,
  modulePlugin,
  heapWalk,
  exitAtImport,
  exitNative,
  exitAtEnd,
  exitCode,
  resultsAtImport,
  resultsAfterEnd,
  printedResults,
  usageError,
  restartRunner,
  killRunner,
  skipEverything,
  expectFailures,
  assertionRewriting,
  testsOnDisk,
  unittestAsserts,
  swallowedErrors,
  assertionError,
  equalToAll,
  writeOutside,
  network,
  readGold,
  selectiveMessages,
  selectiveNames,
  selectiveResults,
  selectiveForm,
  selectiveBase,
  testsEdited,
  testsReplaced,
  testsDeleted,
  testsShadowed,
  symlinkOut,
  moduleAsLink,
  pathTraversal,
  hugeFile,
  binary,
  submodule,
  modeChanges,
  carriageReturns,
  nonUtf8Names,
  agentGitHistory,
  agentReadFiles,
  agentStore,
  agentNetwork,
  agentBackground,
  agentGitTricks,
  agentNoGit,
  agentOddFiles,
  agentPlants,
];
