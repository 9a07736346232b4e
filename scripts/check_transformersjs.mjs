// Holds an ONNX export against `deeplora predict`, in Transformers.js. Run by hand, where node and the package are:
//
//	npm install --prefix DIR @huggingface/transformers
//	node scripts/check_transformersjs.mjs --modules DIR/node_modules --run RUN [--text TSV] [--program bin/deeplora] [--backend auto]
//
// RUN is a finished run that classifies texts. Transformers.js wants the graph at onnx/model.onnx below the model's folder,
// with config.json and the tokenizer's files in the folder itself; of quantized graphs it makes the names: dtype "fp16" is
// onnx/model_fp16.onnx, "q8" is onnx/model_quantized.onnx. The three precisions are laid out so in a folder of their own,
// and 100 sentences of STS-B are classified from text. Exits with 1 if a label is another one in f32 or f16, or a score of
// theirs differs by more than 1e-4 and 1e-2; int8 is shown and not judged, as check_onnx.py has it.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const root = dirname(import.meta.dirname);
const { values: options } = parseArgs({
	options: {
		modules: { type: "string" },
		run: { type: "string" },
		text: { type: "string", default: join(root, "internal/builtin/STS-B/train.tsv") },
		program: { type: "string", default: join(root, "bin/deeplora") },
		backend: { type: "string", default: "auto" },
	},
});
const precisions = [
	{ ours: "f32", theirs: "fp32", file: "model.onnx", tolerance: 1e-4 },
	{ ours: "f16", theirs: "fp16", file: "model_fp16.onnx", tolerance: 1e-2 },
	{ ours: "int8", theirs: "q8", file: "model_quantized.onnx", tolerance: Infinity },
];
const batch = 13;

/** The last 100 rows' first sentences. */
function sentences(path) {
	const rows = readFileSync(path, "utf8").trimEnd().split("\n").map((line) => line.split("\t"));
	const column = rows[0].indexOf("sentence1");
	return rows.slice(-100).map((row) => row[column]);
}

function deeplora(input, ...args) {
	return execFileSync(options.program, [...args, "--quiet", "--backend", options.backend], { input, encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] });
}

/** Exports in every precision, in the layout that Transformers.js looks for. */
function layOut(folder) {
	mkdirSync(join(folder, "model/onnx"), { recursive: true });
	for (const { ours, file } of precisions) {
		const from = join(folder, ours);
		deeplora("", "export", "--format", "onnx", "--precision", ours, "--run", options.run, "--out", from);
		for (const name of readdirSync(from)) {
			copyFileSync(join(from, name), name === "model.onnx" ? join(folder, "model/onnx", file) : join(folder, "model", name));
		}
	}
}

/** Labels and scores of Transformers.js, in batches of sentences of different lengths. */
async function classified(pipeline, folder, dtype, texts) {
	const classify = await pipeline("text-classification", "model", { dtype, device: "cpu" });
	const answers = [];
	for (let at = 0; at < texts.length; at += batch) {
		answers.push(...(await classify(texts.slice(at, at + batch))));
	}
	await classify.dispose();
	return answers;
}

async function main() {
	if (!options.run || !options.modules) {
		throw new Error("give --run, a finished run, and --modules, the node_modules that has @huggingface/transformers");
	}
	const require = createRequire(join(resolve(options.modules), "x.js"));
	const { env, pipeline } = await import(pathToFileURL(require.resolve("@huggingface/transformers")).href);
	const folder = mkdtempSync(join(tmpdir(), "transformersjs-"));
	try {
		layOut(folder);
		Object.assign(env, { allowRemoteModels: false, localModelPath: folder });
		console.log(`Transformers.js ${env.version}`);
		const texts = sentences(options.text);
		const lines = deeplora(texts.map((text) => `${JSON.stringify({ text })}\n`).join(""), "predict", "--run", options.run, "--input", "-");
		const ours = lines.trimEnd().split("\n").map((line) => JSON.parse(line));
		for (const { ours: precision, theirs: dtype, file, tolerance } of precisions) {
			const theirs = await classified(pipeline, folder, dtype, texts);
			const labels = theirs.filter(({ label }, i) => label !== ours[i].label).length;
			const furthest = Math.max(...theirs.map(({ label, score }, i) => Math.abs(score - ours[i].probabilities[label])));
			const bad = theirs.length !== texts.length || (Number.isFinite(tolerance) && (labels > 0 || !(furthest <= tolerance)));
			const size = statSync(join(folder, "model/onnx", file)).size;
			console.log(`${precision.padEnd(5)} ${file.padEnd(21)} ${texts.length} sentences, other labels ${labels}, scores differ by at most ${furthest.toExponential(1)}, ${size} bytes${bad ? "  TOO FAR" : ""}`);
			process.exitCode ||= bad ? 1 : 0;
		}
	} finally {
		rmSync(folder, { recursive: true });
	}
}

await main();
