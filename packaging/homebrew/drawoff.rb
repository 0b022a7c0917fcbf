# Homebrew's formula. The address and the digest of the source archive are set by packaging/github/release.yml.
class Drawoff < Formula
  desc "Stream the results of hosted batch workflows to where people need them"
  homepage "@REPOSITORY@"
  url "@REPOSITORY@/archive/refs/tags/v@VERSION@.tar.gz"
  sha256 "@SHA256@"
  license "MIT"

  depends_on "cmake" => :build
  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    generate_completions_from_executable(bin/"drawoff", "completions")
    system bin/"drawoff", "man", "--dir", man1
  end

  test do
    (testpath/"people.csv").write "name,age\nOla,41\nKari,39\n"
    assert_equal "name,age\nOla,41\n",
                 shell_output("#{bin}/drawoff convert people.csv -o - --to csv --where 'age > 40' -q")
  end
end
