// Package lora holds adapters: what is trained beside a frozen kernel K [In, Out], how it starts, and the update ΔK it
// stands for. The adapted kernel is K + ΔK, so that y = x·K becomes y = x·(K + ΔK).
//
// A method is a row of a table (Methods); Register adds one from outside. With its settings it is an Adapter, which
// has two functions: Init lists the factors of a kernel, Delta says how they multiply. The type Delta is the one place
// where ΔK is computed; training, merging, export, spectra and tests call it. A Scope picks the kernels that get an
// adapter. Nothing here needs BERT: the package's example adapts a network of two layers.
//
// An update has to be a product of matrices that the method owns. Methods that multiply K itself do not fit: DoRA
// divides the columns of K + ΔK by their norms and scales them anew, and (IA)³ scales activations, which is
// ΔK = K·diag(l − 1). Delta sees the factors alone, never K; and such an update has K's rank, so that what is gained
// here by products of thin matrices, and PEFT's pair with them, would be lost.
//
// The mathematics is that of Yaras, Wang, Balzano and Qu, "Compressible Dynamics in Deep Overparameterized Low-Rank
// Learning & Adaptation" (ICML 2024); comments cite docs/method.md by section.
//
// What does not belong here: encoders, tasks, optimizers (they see Factor.Rate, never a method's name), and ways of
// training that change the model's own tensors.
package lora
