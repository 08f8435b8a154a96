"""README.md's section "Writing a worker" quotes worker/client/example.cc and its BUILD file: word for word."""

import os
import re
import sys
import unittest

ROOT = os.path.join(os.environ['TEST_SRCDIR'], os.environ['TEST_WORKSPACE'])


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        return file.read()


def quotes(language):
    """The code blocks of the section in this language."""
    section = read('README.md').split('## Writing a worker', 1)[1].split('\n## ', 1)[0]
    return re.findall(rf'^```{language}\n(.*?)^```$', section, re.MULTILINE | re.DOTALL)


class ReadmeTest(unittest.TestCase):

    def test_program_is_the_main_function_of_the_example(self):
        example = read('worker/client/example.cc')
        self.assertEqual(quotes('cpp'), [example[example.index('int main('):]])

    def test_build_rule_is_that_of_the_example(self):
        rules = quotes('python')
        self.assertEqual(len(rules), 1)
        self.assertIn(rules[0], read('worker/client/BUILD'))

    def test_commands_are_those_of_the_example(self):
        commands = re.findall(r'^//   (.*)$', read('worker/client/example.cc'), re.MULTILINE)
        self.assertIn('\n'.join(commands) + '\n', quotes(''))


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
