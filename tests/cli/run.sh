#!/bin/sh
# Checks the program from outside: exit codes, what goes to which stream, JSON, bad input.
# run.sh PROGRAM MODEL EMPTY_FOLDER
set -eu
LC_ALL=C
export LC_ALL
program=$1
model=$2
work=$3
rm -rf "$work"
mkdir -p "$work"
cd "$work"
failures=0

fail() {
  {
    printf 'FAILED: %s\n--- standard output\n' "$1"
    head -c 1000 out
    printf '\n--- standard error\n'
    head -c 1000 err
    echo
  } >&2
  failures=$((failures + 1))
}

# expect CODE ARGUMENT...: runs the program, leaves out and err.
expect() {
  code=$1
  shift
  found=0
  "$program" "$@" >out 2>err </dev/null || found=$?
  [ "$found" -eq "$code" ] || fail "exit code $found instead of $code: $*"
}
has() { grep -qF -e "$2" "$1" || fail "no '$2' in $1"; }
has_not() { ! grep -qF -e "$2" "$1" || fail "'$2' in $1"; }
is_empty() { [ ! -s "$1" ] || fail "$1 is not empty"; }

question='What is 12 + 30?'

# The answer alone on standard output, the thought alone on standard error.
expect 0 ask --greedy "$question"
has out '\boxed{42}'
has err 'Thought:'
has err 'Answer:'
has_not out 'Thought:'
has_not err '\boxed{42}'
[ "$(wc -l <out)" -eq 1 ] || fail 'the answer is not one line'
cp out answer
cp err thought

# The same with the model named, from standard input, and with one thread.
expect 0 ask "$model" --greedy "$question"
cmp -s out answer || fail 'a named model answers differently'
printf '%s\n' "$question" | "$program" ask --greedy - >out 2>err || fail 'prompt from standard input'
cmp -s out answer || fail 'the prompt from standard input was answered differently'

# What is shown.
expect 0 ask --greedy --show answer "$question"
cmp -s out answer || fail '--show answer changed the answer'
is_empty err
expect 0 ask --greedy --show thoughts "$question"
is_empty out
has_not err 'Answer:'

# Controls.
expect 0 ask --greedy --thinking off "$question"
has_not err 'Thought:'
expect 0 ask --greedy --thinking-token-budget 0 --json "$question"
has out '"thought": ""'
expect 0 ask --greedy --thinking-budget 5 --budget-message ' Enough.' --json "$question"
has out '"thought_end": "budget"'
has out ' Enough."'
expect 0 ask --greedy --min-thought-tokens 200 --extension-text ' So' --max-extensions 1 "$question"
has err ' So'
expect 0 ask --greedy --stop '{}' --stop '[a,b]' --stop boxed --json "$question"
has out '"answer_end": "stop_string"'
has_not out boxed
has out '+'
expect 0 ask --greedy --stop + --stop-in-thought --json "$question"
has out '"thought_end": "stopped"'
has out '"answer_end": "stop_string"'
has_not out '12+'
cat answer thought >plain
for penalty in --repetition-penalty=5 --presence-penalty=2 --frequency-penalty=2; do
  found=0 # with or without an answer: other words
  "$program" ask --greedy $penalty --max-tokens 100 "$question" >out 2>err </dev/null || found=$?
  cat out err >found
  [ "$found" -le 1 ] && ! cmp -s found plain || fail "$penalty changes nothing"
done
# The answer's sampler is the thought's unless it has settings of its own.
hot="--temperature 50 --answer-top-k 1 --max-tokens 60 --thinking off --show answer"
expect 0 ask $hot --seed 1 "$question"
mv out first
expect 0 ask $hot --seed 2 "$question"
cmp -s out first || fail '--answer-top-k 1 is not greedy'
for answer in '--answer-temperature 0' '--answer-top-p 0.000001' '--answer-min-p 1'; do
  expect 0 ask --temp 50 $answer --thinking off --max-tokens 60 --show answer "$question"
  cmp -s out first || fail "$answer is not greedy"
done
expect 0 ask --greedy --max-answer-tokens 1 --json "$question"
has out '"answer_end": "length"'
printf '%s' 'root ::= "\\boxed{" [0-9]+ "}"' >grammar
expect 0 ask --greedy --answer-grammar grammar "$question"
[ "$(cat out)" = '\boxed{42}' ] || fail 'the answer does not keep to the grammar'
printf '%s' '{"enum": ["forty-two"]}' >schema
expect 0 ask --greedy --answer-json-schema schema "$question"
[ "$(cat out)" = '"forty-two"' ] || fail 'the answer does not keep to the schema'
expect 1 ask --greedy --max-tokens 3 "$question"
is_empty out
has err 'no answer'
expect 0 ask --seed 7 --temp 0.8 --json "$question"
grep -v seconds out >first
expect 0 ask --seed 7 --temp 0.8 --json "$question"
grep -v seconds out >second
cmp -s first second || fail 'the same seed gave another reply'

# JSON: one object on standard output, nothing on standard error.
expect 0 ask --greedy --json "$question"
is_empty err
[ "$(head -c 1 out)" = '{' ] && [ "$(tail -n 1 out)" = '}' ] || fail 'not one JSON object'
for key in prompt thought answer thought_end answer_end usage prompt_tokens thought_tokens \
  answer_tokens; do
  has out "\"$key\":"
done
has out '"thought_end": "closed"'
has out '"answer_end": "complete"'

# A vote: every voter's answer and ending on standard error, the elected answer on standard output.
expect 0 ask --seed 3 --temp 1.3 --vote 3 "$question"
has out '\boxed{42}'
[ "$(wc -l <out)" -eq 1 ] || fail 'not one elected answer'
[ "$(grep -c '^Voter [123], thought closed, answer complete:$' err)" -eq 3 ] || fail 'three voters'
has err 'Elected: voter 1, for 42 by '
expect 0 ask --seed 3 --temp 1.3 --vote 3 --show answer "$question"
is_empty err
expect 0 ask --greedy --vote 2 --json "$question"
is_empty err
has out '"winner": "42"'
[ "$(grep -c '"thought_end": "closed"' out)" -eq 3 ] || fail 'not two voters and the elected reply'
expect 1 ask --greedy --vote 2 --max-tokens 3 "$question"
has err 'Elected: voter 1, since none made a choice'
expect 1 ask --vote 0 "$question"
expect 1 chat --vote 2

# A conversation: two questions, two answers.
printf '%s\n\n%s\n' "$question" 'What is 2 + 3?' | "$program" chat --greedy --show answer >out 2>err ||
  fail 'chat'
has out '\boxed{42}'
has out '\boxed{5}'

# With earlier thoughts the second prompt is longer.
for history in strip keep; do
  printf '%s\n%s\n' "$question" 'What is 2 + 3?' |
    "$program" chat --greedy --json --history $history >out 2>err || fail "chat --history $history"
  tail -n 1 out | sed 's/.*"prompt_tokens": *\([0-9]*\).*/\1/' >"tokens.$history"
done
[ "$(cat tokens.keep)" -gt "$(cat tokens.strip)" ] || fail 'chat --history keep'

# A question that is refused leaves the others as they are.
printf '%s\n\303\n%s\n' "$question" 'What is 2 + 3?' |
  "$program" chat --greedy --show answer >out 2>err || fail 'chat with a refused line'
has out '\boxed{42}'
has out '\boxed{5}'
has err 'not UTF-8'
printf '\303\n' | "$program" chat --greedy >out 2>err && fail 'chat with a refused line at its end'

# Looking into the model.
expect 0 info
has out 'num_hidden_layers'
has out 'thought closes with'
has out 'at the default context'
expect 0 info "$model" --context 1000
has out 'at 1000 tokens of context'
expect 0 info "$model" --context 1000 --cache-type q8
expect 1 info "$model" --context 1000 --cache-type q4
has err 'expected one of bf16, f32, q8, found q4'
expect 0 ask --cache-type f32 --greedy "$question"
expect 0 tokenize 'a<think>'
has out '"<think>"'
[ "$(wc -l <out)" -eq 2 ] || fail 'a<think> is not two tokens'
cp out given
echo 'a<think>' | "$program" tokenize - >out 2>err || fail 'text from standard input'
cmp -s out given || fail 'the text from standard input has other tokens'
printf '[a,b]' | "$program" tokenize - >given 2>err || fail 'a list from standard input'
expect 0 tokenize '[a,b]'
cmp -s out given || fail 'the text [a,b] has other tokens as an argument'
expect 0 tokenize "$model" '[a,b]'
cmp -s out given || fail 'the text [a,b] has other tokens beside a model'
expect 0 logits --ids 1,2,3 --out logits.npy
header=$(head -c 128 logits.npy | tr -d '\0')
case $header in *NUMPY*"'descr': '<f4'"*"'shape': (3, "*) ;; *) fail "npy header: $header" ;; esac
vocab=$(printf '%s' "$header" | sed -n "s/.*'shape': (3, \([0-9]*\)).*/\1/p")
[ "$(wc -c <logits.npy)" -eq $((128 + 3 * vocab * 4)) ] || fail 'npy size'

# Quantising: the model named and a file of other types; what an attempt left is gone on with.
expect 0 quantize "$model" small.gguf --type q8_0 --tensor-type 'attn_output=f16' 'shexp=q5_0' \
  --output-type q4_0 --embedding-type f16
has out 'small.gguf: 70 tensors'
[ ! -e small.gguf.part ] || fail 'a part is left'
expect 0 info small.gguf
has out 'deepseek2 (deepseek_v3)'
for type in F16 F32 Q4_0 Q5_0 Q8_0; do has out "tensors $type"; done
cp small.gguf whole.gguf
head -c 600000 whole.gguf >small.gguf.part
rm small.gguf
expect 0 quantize "$model" small.gguf --type q8_0 --tensor-type 'attn_output=f16' 'shexp=q5_0' \
  --output-type q4_0 --embedding-type f16
has err 'went on after'
cmp -s small.gguf whole.gguf || fail 'a file that was gone on with differs'
expect 0 quantize small.gguf again.gguf --type q8_0
# The layer of multi-token prediction: on demand.
expect 1 ask small.gguf --speculation mtp "$question"
has err 'no layer of multi-token prediction'
expect 0 quantize "$model" mtp.gguf --type q8_0 --mtp
expect 0 info mtp.gguf
has out 'num_nextn_predict_layers  1'
expect 0 ask mtp.gguf --speculation mtp --json --greedy "$question"
has out '"accepted_tokens": '
has_not out '"accepted_tokens": 0'
expect 1 quantize small.gguf again.gguf --mtp
has err 'expected a checkpoint of safetensors'
expect 1 quantize "$model"
expect 1 quantize "$model" bad.gguf --type q3
has err 'cannot write type "q3", only f32, f16'
expect 1 quantize "$model" bad.gguf --type iq2_xxs
expect 1 quantize "$model" bad.gguf --tensor-type attn
has err 'expected PATTERN=TYPE, found "attn"'
expect 1 quantize "$model" bad.gguf --tensor-type 'attn_output=q4_k'
has err 'blk.0.attn_output.weight: expected rows of whole blocks for Q4_K'
expect 1 quantize "$model" no/such/folder/x.gguf
has err 'no/such/folder/x.gguf'
expect 1 quantize small.gguf small.gguf
has err 'expected another file than the one that is read'
[ ! -e bad.gguf ] || fail 'a file was left by an error'
expect 0 --help
has out 'ask'
expect 0 ask --help
grep -qE 'TEXT[= ]+\[?bf16' out || fail 'no default of --cache-type'
expect 0 --version

# Measuring. The numbers are the machine's; that they are there, and what they belong to, is not.
quick='--repeats 1 --decode 2'
expect 0 bench $quick --prefill 3,20 --depth 0,40 --threads 1 --json
is_empty err
for key in read_bytes_per_second file_bytes peak_bytes fraction_of_read fraction_of_peak cpus \
  bytes_per_second; do
  has out "\"$key\":"
done
has out '"depth": 40'
has out '"tokens": 20'
cpu=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
expect 0 bench $quick --prefill 3 --cpus "$cpu"
has out "machine, 1 threads tied to CPUs $cpu"
has out 'prefill 3'
has out 'x (file + cache)'
has_not out 'decode at'
expect 0 bench $quick --sessions 1,3
has out '3 sessions'
has_not out 'prefill'
expect 1 bench --sessions 0
expect 0 bench $quick --layer mla --depth 5 --layer-type q8_0
has out 'decode at 5'
has out 'mla layer of DeepSeek-R1, q8_0'
expect 0 bench $quick --layer moe --experts 16 --prefill 1
has out 'prefill 1 '
expect 1 bench --cpus 100000
has err 'which this process may use, found 100000'
expect 1 bench --cpus 0-
has err 'found "0-"'
expect 1 bench --depth 100000
has err 'context_length: expected 1 to 2048'
expect 1 bench --layer moe --experts 9
has err '--experts: expected a multiple of 8'
expect 1 bench --layer moe --layer-type q3
has err 'cannot write type "q3"'
expect 1 bench "$model" --layer moe
expect 1 bench --layer dense

# Bad command lines.
expect 1
expect 1 dance
expect 1 ask
expect 1 ask --temp warm "$question"
expect 1 ask --thinking sometimes "$question"
# Settings are looked at before the model is loaded, and errors name the options.
expect 1 ask no/such/model --top-p 2 "$question"
has err '--top-p: expected more than 0, at most 1'
expect 1 ask no/such/model --thinking-budget -2 "$question"
has err '--thinking-token-budget: expected -1 or more, found -2'
expect 1 ask no/such/model --temp -1 "$question"
has err '--temperature: expected'
expect 1 ask no/such/model --answer-min-p 2 "$question"
has err '--answer-min-p: expected 0 to 1'
expect 1 ask no/such/model --min-thought-tokens 9 --extension-text '' "$question"
has err '--extension-text: expected a text'
expect 1 ask no/such/model --stop '' "$question"
has err '--stop: expected a string'
expect 1 ask no/such/model --answer-grammar schema "$question"
has err '--answer-grammar: line 1'
expect 1 ask no/such/model --answer-json-schema no/such/file "$question"
has err 'no/such/file'
expect 1 ask no/such/model --cache-type q4 "$question"
has err 'cache type: expected one of'
expect 1 ask --context 0 "$question"
has err '--context'
expect 1 ask --threads -1 "$question"
expect 1 ask --context 4 "$question"
expect 1 logits --ids 1,x --out logits.npy
expect 1 logits --ids 1,2000000000 --out logits.npy
has err '2000000000'
expect 1 logits --ids -1 --out logits.npy
expect 1 logits --ids 1 --out no/such/folder/logits.npy
has err 'no/such/folder/logits.npy'
if [ -c /dev/full ]; then
  expect 1 logits --ids 1,2,3 --out /dev/full
  has err '/dev/full: cannot write'
fi
expect 1 ask "$(printf 'bad \377 text')"
has err 'UTF-8'

# Bad files: the message names the file.
expect 1 ask no/such/model "$question"
has err 'no/such/model'
expect 1 info no/such/model
has err 'no/such/model'

copy_model() {
  rm -rf bad
  mkdir bad
  cp "$model"/* bad/
  chmod u+w bad/*
}
bad_model() {
  expect 1 ask bad "$question"
  is_empty out
  has err "$1"
}
copy_model
head -c 100000 "$model/model.safetensors" >bad/model.safetensors
bad_model bad/model.safetensors
copy_model
head -c 5 "$model/model.safetensors" >bad/model.safetensors
bad_model bad/model.safetensors
copy_model
printf '\377\377\377\377\377\377\377\177{}' >bad/model.safetensors
bad_model bad/model.safetensors
copy_model
: >bad/model.safetensors
bad_model bad/model.safetensors
copy_model
rm bad/model.safetensors
bad_model bad
for file in config.json tokenizer.json tokenizer_config.json; do
  copy_model
  rm "bad/$file"
  bad_model "bad/$file"
  copy_model
  printf '{' >"bad/$file"
  bad_model "bad/$file"
done
copy_model
sed 's/"model_type": *"[a-z0-9_]*"/"model_type": "perceptron"/' "$model/config.json" >bad/config.json
bad_model perceptron
copy_model
sed 's/"hidden_size": *[0-9]*/"hidden_size": 96/' "$model/config.json" >bad/config.json
bad_model bad/model.safetensors

if [ "$failures" -gt 0 ]; then
  echo "$failures checks failed" >&2
  exit 1
fi
