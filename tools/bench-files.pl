# The part of bench-files that runs in the container: each load in each of the folders, timed and looked at afterwards.
use strict;
use warnings;
use Time::HiRes qw(time);
use IO::Handle;

my ($count, @folders) = @ARGV;
$| = 1;

sub run { system(@_) == 0 or die "@_: $?\n" }
sub said { my $said = `$_[0]`; $? == 0 or die "$_[0]: $?\n"; $said }
sub put { my ($path, $text) = @_; open my $file, ">", $path or die "$path: $!\n"; print $file $text; close $file or die "$path: $!\n" }
sub take { my ($path) = @_; open my $file, "<", $path or die "$path: $!\n"; local $/; <$file> // "" }
sub is { my ($what, $is, $should) = @_; $is eq $should or die "$what: \"$is\" instead of \"$should\"\n" }
sub has { grep { -x "$_/$_[0]" } split /:/, $ENV{PATH} }

# All regular files under a folder.
sub files {
    my @found;
    my @open = @_;
    while (defined(my $folder = shift @open)) {
        opendir my $entries, $folder or die "$folder: $!\n";
        for my $name (readdir $entries) {
            next if $name eq "." or $name eq "..";
            my $path = "$folder/$name";
            lstat $path or die "$path: $!\n";
            if (-d _) { push @open, $path } elsif (-f _) { push @found, $path }
        }
    }
    @found;
}

my @loads = (
    ["tar x of $count files", sub {
        my ($at) = @_;
        mkdir "$at/tar" or die $!;
        run("tar", "-x", "-f", "/given/tree.tar", "-C", "$at/tar");
        sub { is("files", scalar files("$at/tar"), $count); run("tar", "-d", "-f", "/given/tree.tar", "-C", "$at/tar") };
    }],
    ["stat of each file", sub {
        my ($at) = @_;
        my $found = files("$at/tar");
        sub { is("files", $found, $count) };
    }],
    ["build: sources read, results written, renamed", sub {
        my ($at) = @_;
        mkdir "$at/target" or die $!;
        my @sources = files("$at/tar");
        @sources = @sources[0 .. $#sources / 4];
        my $made = 0;
        for my $source (@sources) {
            my $name = $source =~ s{.*/}{}r;
            my $target = "$at/target/$name.o";
            # Is it there, and is it older?
            my $is = (stat $target)[9];
            my $should = (stat $source)[9];
            next if defined $is && $is >= $should;
            put("$target.part", take($source) x 2);
            rename "$target.part", $target or die $!;
            put("$at/target/$name.d", "$target: $source\n");
            $made++;
        }
        sub {
            is("results", $made, scalar @sources);
            for my $source (@sources) {
                my $name = $source =~ s{.*/}{}r;
                take("$at/target/$name.o") eq take($source) x 2 or die "$name.o is wrong\n";
            }
        };
    }],
    ["database: pages written, a log synced " . ($count / 20) . " times", sub {
        my ($at) = @_;
        my ($pages, $page) = (64, 8192);
        open(my $data, "+>", "$at/data") or die $!;
        open(my $log, ">>", "$at/log") or die $!;
        truncate $data, $pages * $page;
        my @last = (0) x $pages;
        for my $i (1 .. $count / 20) {
            my $n = $i * 37 % $pages;
            sysseek $data, $n * $page, 0;
            sysread($data, my $old, $page);
            $last[$n] = $i;
            sysseek $data, $n * $page, 0;
            syswrite $data, pack("N", $i) x ($page / 4) or die $!;
            syswrite $log, "page $n is $i\n" or die $!;
            $log->sync or die $!;
            $i % 50 == 0 and ($data->sync or die $!);
        }
        sub {
            is("log", scalar(() = take("$at/log") =~ /\n/g), int($count / 20));
            is("data", take("$at/data"), join "", map { pack("N", $_) x ($page / 4) } @last);
        };
    }],
);
push @loads, ["sqlite: a transaction for each of " . ($count / 40) . ", then 5,000 in one", sub {
    my ($at) = @_;
    my $single = int($count / 40);
    my $sql = "create table t (n integer primary key, s text);\n";
    $sql .= "insert into t (s) values (hex(randomblob(50)));\n" x $single;
    $sql .= "begin;\nwith recursive c(i) as (select 1 union all select i + 1 from c where i < 5000) insert into t (s) select 'row ' || i from c;\ncommit;\n";
    put("/tmp/load.sql", $sql);
    run("sqlite3 $at/sqlite.db < /tmp/load.sql");
    sub { is("rows", said("sqlite3 $at/sqlite.db 'pragma integrity_check; select count(*) from t'"), "ok\n" . ($single + 5000) . "\n") };
}] if has("sqlite3");
push @loads, ["git clone of " . (int $count / 4) . " files", sub {
    my ($at) = @_;
    run("git", "clone", "-q", "file:///tmp/origin", "$at/clone");
    sub { is("changes", said("cd $at/clone && git fsck --no-progress 2>&1 && git status --porcelain"), "") };
}] if has("git");

if (has("git")) {
    # The repository that is cloned, of a quarter of the files.
    run("mkdir -p /tmp/origin && cd /tmp/origin && tar -x -f /given/tree.tar && find . -type f | awk 'NR % 4' | xargs rm " .
        "&& git init -q && git config core.fsync none && git add . && git -c user.name=me -c user.email=me\@here commit -qm all");
}
mkdir $_ for @folders;
printf "%-60s %9s %9s %7s\n", "SECONDS", map({ s{^/}{}r } @folders), "RATIO";
for my $load (@loads) {
    my ($name, $code) = @$load;
    my @times;
    for my $folder (@folders) {
        my $begin = time;
        my $check = $code->($folder);
        push @times, time - $begin;
        $check->();
    }
    printf "%-60s %9.2f %9.2f %7.2f\n", $name, @times, $times[1] / $times[0];
}
