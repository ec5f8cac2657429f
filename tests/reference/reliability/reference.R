# Reference values for alliance_stats.reliability from the R package psych (and lme4 through it).
# Run in this folder: Rscript reference.R
library(psych)
library(jsonlite)
set.seed(20)
n_patients <- 40; n_sessions <- 8; n_items <- 4
grid <- expand.grid(session = 1:n_sessions, patient = 1:n_patients)
person <- rnorm(n_patients, 0, 0.7)
day <- rnorm(n_sessions, 0, 0.15)
state <- rnorm(nrow(grid), 0, 0.5)
person_item <- matrix(rnorm(n_patients * n_items, 0, 0.3), n_patients)
loading <- c(1.1, 0.9, 1.0, 0.7)
items <- sapply(1:n_items, function(j)
  3.5 + 0.2 * (j - 2) + loading[j] * (person[grid$patient] + state) + day[grid$session] +
    person_item[grid$patient, j] + rnorm(nrow(grid), 0, 0.55))
items <- round(items, 2)
colnames(items) <- paste0("item_", 1:n_items)
data <- cbind(grid[, c("patient", "session")], items)
write.csv(data, "items.csv", row.names = FALSE)

a <- psych::alpha(as.data.frame(items), warnings = FALSE)
feldt <- psych::alpha.ci(a$total$raw_alpha, n.obs = nrow(items), n.var = n_items)
fit <- psych::fa(items, nfactors = 1, fm = "ml")
sds <- apply(items, 2, sd) 
raw_loading <- as.numeric(fit$loadings) * sds
raw_unique <- fit$uniquenesses * sds^2
omega <- sum(raw_loading)^2 / (sum(raw_loading)^2 + sum(raw_unique))

g <- psych::multilevel.reliability(data, grp = "patient", Time = "session", items = colnames(items),
                                   aov = TRUE, lmer = TRUE, alpha = FALSE, long = FALSE)
minres <- psych::fa(items, nfactors = 1, fm = "minres")
by <- psych::statsBy(data[, c("patient", colnames(items))], group = "patient")
fit_w <- psych::fa(by$rwg, nfactors = 1, fm = "ml", n.obs = nrow(data))
raters <- sapply(1:3, function(r) person + 0.3 * r + rnorm(n_patients, 0, 0.6))
raters <- round(raters, 2)
colnames(raters) <- paste0("rater_", 1:3)
write.csv(data.frame(subject = 1:n_patients, raters), "ratings.csv", row.names = FALSE)
icc <- psych::ICC(raters, lmer = FALSE)$results
write_json(list(
  versions = list(R = R.version.string, psych = as.character(packageVersion("psych")), lme4 = as.character(packageVersion("lme4"))),
  alpha = a$total$raw_alpha, std_alpha = a$total$std.alpha, alpha_ci = c(feldt$lower.ci, feldt$upper.ci),
  minres_loadings = abs(as.numeric(minres$loadings)),
  omega = omega, loadings = abs(as.numeric(fit$loadings)),
  crossed = as.list(unlist(g[c("RkF", "R1R", "RkR", "Rc")])),
  nested = as.list(unlist(g[c("RkRn", "Rcn")])),
  anova_components = g$ANOVA, names = names(g),
  components = data.frame(name = rownames(as.data.frame(g$components)), g$components),
  within_r = by$rwg, between_r = by$rbg, icc1 = by$ICC1, within_loadings = abs(as.numeric(fit_w$loadings)),
  icc = data.frame(form = rownames(icc), icc)
), "reference.json", digits = 12, auto_unbox = TRUE, pretty = TRUE, force = TRUE)
