"""How one run of iscsi-test-cu is judged: a skip is never a pass, and a run that reached no summary is a failure."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from measure import cu, goals, table  # noqa: E402


def output(*lines, tests=1, failed_tests=0, asserts=3, failed_asserts=0):
    return "\n".join([
        *lines, "Run Summary:    Type  Total    Ran Passed Failed Inactive",
        "              suites      1      1    n/a      0        0",
        f"               tests      {tests}      {tests}      {tests - failed_tests}      {failed_tests}        0",
        f"             asserts    {asserts}    {asserts}    {asserts - failed_asserts}      {failed_asserts}      n/a"])


class Judge(unittest.TestCase):
    def test_assertions_all_held_is_passed(self):
        self.assertEqual(cu.judge(0, output()), (cu.PASSED, ""))

    def test_skip_line_though_cunit_says_passed_is_skipped_with_its_reason(self):
        self.assertEqual(cu.judge(0, output("    [SKIPPED] UNMAP is not implemented.")), (cu.SKIPPED, "UNMAP is not implemented."))

    def test_skip_half_way_after_assertions_is_skipped(self):
        self.assertEqual(cu.judge(0, output("[OK] READ10", "[SKIPPED] LUN is too big", asserts=40))[0], cu.SKIPPED)

    def test_failed_assertion_beats_a_skip_line(self):
        self.assertEqual(cu.judge(1, output("[SKIPPED] half", failed_tests=1, failed_asserts=1))[0], cu.FAILED)

    def test_failed_assertion_names_its_place_and_what_was_told(self):
        shown = output("[FAILED] READ10 was too short", "    1. test_read10.c:50  - CU_ASSERT_EQUAL(_r,0)    Send PRIN", failed_tests=1, failed_asserts=1)
        self.assertEqual(cu.judge(1, shown), (cu.FAILED, "READ10 was too short; test_read10.c:50 CU_ASSERT_EQUAL(_r,0)"))

    def test_no_summary_is_failed_with_the_last_line(self):
        verdict, reason = cu.judge(10, "iscsi_connect failed\n\n")
        self.assertEqual(verdict, cu.FAILED)
        self.assertIn("iscsi_connect failed", reason)

    def test_client_that_crashed_is_failed_and_names_the_signal(self):
        self.assertIn("SIGSEGV", cu.judge(-11, "")[1])

    def test_name_that_selected_several_tests_is_failed(self):
        self.assertEqual(cu.judge(0, output(tests=2))[0], cu.FAILED)

    def test_nothing_asserted_but_a_warning_is_skipped(self):
        self.assertEqual(cu.judge(0, output("[WARNING] no version of SPC", asserts=0))[0], cu.SKIPPED)

    def test_nothing_asserted_and_success_said_is_passed(self):
        self.assertEqual(cu.judge(0, output("[SUCCESS] claimed SPC", asserts=0))[0], cu.PASSED)


class Void(unittest.TestCase):
    TEST = "iSCSITMF.LUNResetSimpleAsync"
    PLACE = "    1. test_async_lu_reset_simple.c:157  - CU_ASSERT_EQUAL(reconnect_succeeded,1)"

    def test_only_the_impossible_assertion_failed_is_void(self):
        self.assertTrue(cu.void_reason(self.TEST, output(self.PLACE, failed_tests=1, failed_asserts=1)))

    def test_another_assertion_failed_too_is_not_void(self):
        self.assertFalse(cu.void_reason(self.TEST, output(self.PLACE, failed_tests=1, failed_asserts=2)))

    def test_another_assertion_failed_instead_is_not_void(self):
        self.assertFalse(cu.void_reason(self.TEST, output("    1. test_async_lu_reset_simple.c:190  - CU_FAIL", failed_tests=1, failed_asserts=1)))

    def test_another_test_is_never_void(self):
        self.assertFalse(cu.void_reason("iSCSITMF.AbortTaskSimpleAsync", output(self.PLACE, failed_tests=1, failed_asserts=1)))


class Goals(unittest.TestCase):
    def test_figure_not_measured_is_neither_met_nor_missed(self):
        self.assertIsNone(goals.Goal("x", None, 1, True).met)

    def test_bound_itself_is_met_on_both_sides(self):
        self.assertTrue(goals.Goal("x", 1, 1, True).met)
        self.assertTrue(goals.Goal("x", 1, 1, False).met)

    def test_median_of_an_even_count_is_the_middle(self):
        self.assertEqual(table.median([4, 1, 3, 2]), 2.5)


unittest.main()
