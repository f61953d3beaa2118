"""The checks notice what they are there for."""

import unittest

import check_docs
import check_intrinsics
import check_isa_symbols
import check_layers
import check_sizes


class Layers(unittest.TestCase):
    def test_include_against_the_order_is_reported(self):
        text = '#include "qeff/io/artifact.hpp"\n#include <vector>\n'
        self.assertEqual(
            list(check_layers.violations([("a.hpp", "core", text)])),
            ["a.hpp: core may not include io"],
        )

    def test_include_with_the_order_is_fine(self):
        text = '#include "qeff/core/error.hpp"\n#include "math/own.hpp"\n'
        self.assertEqual(list(check_layers.violations([("a.cpp", "math", text)])), [])

    def test_unknown_room_is_reported(self):
        self.assertEqual(len(list(check_layers.violations([("a.hpp", "util", "")]))), 1)

    def test_cycle_in_the_table_is_seen(self):
        self.assertFalse(check_layers.is_acyclic({"a": {"b"}, "b": {"a"}}))
        self.assertTrue(check_layers.is_acyclic(check_layers.ALLOWED))


class Sizes(unittest.TestCase):
    def test_long_file_needs_a_reason(self):
        self.assertEqual(len(list(check_sizes.too_long({"a.cpp": 501}, {}))), 1)
        self.assertEqual(list(check_sizes.too_long({"a.cpp": 501}, {"a.cpp": "a table"})), [])

    def test_stale_exception_is_reported(self):
        self.assertEqual(len(list(check_sizes.too_long({"a.cpp": 10}, {"a.cpp": "a table"}))), 1)


class Docs(unittest.TestCase):
    def test_only_relative_links_count(self):
        text = "[a](docs/a.md#b) [c](https://example.org) [d](#here)\n```\n[e](nowhere)\n```\n"
        self.assertEqual(check_docs.relative_links(text), ["docs/a.md"])

    def test_machine_path_is_seen(self):
        self.assertEqual(check_docs.machine_paths("see /home/me/x and docs/home/x"), ["/home/me"])


class Intrinsics(unittest.TestCase):
    def test_intrinsic_is_seen_and_comment_is_not(self):
        text = "x = _mm256_add_epi8(a, b);  // _mm_add_ps\n_mm_pause();\n"
        self.assertEqual(check_intrinsics.intrinsics(text), ["_mm256_add_epi8"])


class Symbols(unittest.TestCase):
    def test_shared_weak_symbol_is_a_leak(self):
        nm = "0000 W float std::max<float>(float, float)\n0010 T qeff::kernels::avx2_table()\n"
        self.assertEqual(
            list(check_isa_symbols.leaked(nm, "avx2")), ["float std::max<float>(float, float)"]
        )

    def test_symbol_of_the_own_policy_is_not(self):
        nm = "0000 W void qeff::kernels::gemm<qeff::kernels::simd::Avx512Vnni>()\n"
        self.assertEqual(list(check_isa_symbols.leaked(nm, "avx512_vnni")), [])
        self.assertEqual(len(list(check_isa_symbols.leaked(nm, "amx"))), 1)

    def test_missing_instruction_is_reported(self):
        self.assertEqual(check_isa_symbols.missing_instructions("  vpdpbusd %ymm0", "avx_vnni"), [])
        self.assertEqual(
            check_isa_symbols.missing_instructions("  addps %xmm0", "avx_vnni"), ["vpdpbusd"]
        )


if __name__ == "__main__":
    unittest.main()
